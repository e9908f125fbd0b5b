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
	require.Contains(t, out.String(), "Hello from the simulated OSS.")
	require.NotContains(t, strings.ToLower(out.String()), "secret")
	require.ErrorContains(t, run(t.Context(), []string{"-key", "missing.txt"}, &out), "NoSuchKey")
}
