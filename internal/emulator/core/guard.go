// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// MaxBody limits a request to the cloud, in bytes.
const MaxBody = 1 << 20

// Guard is for a cloud that is reached at host. It refuses what a page on another site could make a browser send to a
// service on this machine: a foreign Host (DNS rebinding) and a foreign
// Origin. It also limits bodies and sets the headers that every answer needs.
func Guard(host string, next http.Handler) http.Handler {
	hosts := []string{host}
	if name, port, err := net.SplitHostPort(host); err == nil && loopback.Is(name) {
		hosts = []string{"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Simulated-By", "agent-identity-go local cloud")
		if !slices.Contains(hosts, r.Host) {
			http.Error(w, "local cloud: this host name is not served here", http.StatusMisdirectedRequest)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && !slices.Contains(hosts, trimScheme(origin)) {
			http.Error(w, "local cloud: requests from pages of other sites are refused", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		next.ServeHTTP(w, r)
	})
}

func trimScheme(origin string) string {
	_, host, ok := strings.Cut(origin, "://")
	if !ok {
		return origin
	}
	return host
}
