// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the page loads at first is at most 200 kB, compressed.
func TestInitialLoad(t *testing.T) {
	files := Files()
	page, err := fs.ReadFile(files, "index.html")
	require.NoError(t, err)
	total := compressed(t, page)
	assets := regexp.MustCompile(`(?:src|href)="/(assets/[^"]+)"`).FindAllSubmatch(page, -1)
	require.GreaterOrEqual(t, len(assets), 2)
	for _, m := range assets {
		b, err := fs.ReadFile(files, string(m[1]))
		require.NoError(t, err)
		total += compressed(t, b)
	}
	require.LessOrEqual(t, total, 200_000)
	require.NotRegexp(t, `(?:src|href)="https?:`, string(page), "nothing comes from elsewhere")
}

func compressed(t *testing.T, b []byte) int {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return out.Len()
}
