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
	require.Contains(t, out.String(), "alice: test-agent for alice")
	require.Contains(t, out.String(), "bob: test-agent for bob")
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"-tool", "restart_server"}, &out))
	require.Contains(t, out.String(), "alice: restarted")
	require.Contains(t, out.String(), "bob: refused")
	require.Contains(t, out.String(), "policy")
}
