// SPDX-License-Identifier: Apache-2.0

// Package frontend is the sample's web page: its sources under src, and under
// dist what Vite built of them, embedded so that Go alone runs it.
package frontend

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files are the built files, index.html at the root.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the folder is named above
	}
	return files
}
