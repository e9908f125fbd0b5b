// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"path"
	"strings"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// page serves the built page; paths that are no file get its document, since
// routes are the page's own business.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	// Cookies belong to one host name: whoever comes under another name of
	// this machine is sent to the right one.
	if name, _, err := net.SplitHostPort(s.host); err == nil && loopback.Is(name) && r.Host != s.host {
		target := *r.URL
		http.Redirect(w, r, s.cfg.BaseURL+target.RequestURI(), http.StatusFound)
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	info, err := fs.Stat(s.cfg.Frontend, name)
	switch {
	case name == "" || name == ".", errors.Is(err, fs.ErrNotExist) && path.Ext(name) == "", err == nil && info.IsDir():
		name = "index.html"
	case err != nil:
		web.Fail(w, http.StatusNotFound, "Not Found")
		return
	}
	if strings.HasPrefix(name, "assets/") {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // named by their content
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	http.ServeFileFS(w, r, s.cfg.Frontend, name)
}
