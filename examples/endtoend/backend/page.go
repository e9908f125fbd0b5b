// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

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
	w.Header().Add("Vary", "Accept-Encoding")
	if b := s.compressed(name); b != nil && acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
		return
	}
	http.ServeFileFS(w, r, s.cfg.Frontend, name)
}

func acceptsGzip(r *http.Request) bool {
	for _, one := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(one), ";")
		if coding == "gzip" && strings.ReplaceAll(weight, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// compressed is a text file of the page, compressed once; nil for others. Files
// of another page may change, so they are not kept.
func (s *Server) compressed(name string) []byte {
	if ext := path.Ext(name); s.cfg.OtherFrontend || ext != ".js" && ext != ".css" && ext != ".html" {
		return nil
	}
	if b, ok := s.gzipped.Load(name); ok {
		return b.([]byte)
	}
	text, err := fs.ReadFile(s.cfg.Frontend, name)
	if err != nil {
		return nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil
	}
	if _, err := z.Write(text); err != nil || z.Close() != nil {
		return nil
	}
	s.gzipped.Store(name, b.Bytes())
	return b.Bytes()
}
