// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), nil, &out))
	require.Contains(t, out.String(), "simulated model")
	require.NotContains(t, out.String(), "sk-local")
	require.Error(t, run(t.Context(), []string{"-unknown"}, &out))
}
