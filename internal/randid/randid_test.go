// SPDX-License-Identifier: Apache-2.0

package randid

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForms(t *testing.T) {
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, UUID())
	require.NotEqual(t, UUID(), UUID())
	require.Regexp(t, `^[0-9a-f]{24}$`, Hex(12))
}
