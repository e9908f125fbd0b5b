// SPDX-License-Identifier: Apache-2.0

package oauth

import "net/http"

// revoke ends a refresh token (RFC 7009). One that is unknown, or another
// client's, is answered in the same way.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" || r.PostForm.Get("token") == "" {
		tokenError(w, http.StatusBadRequest, "invalid_request", "send the token as a form, once")
		return
	}
	clientID, secret, basic := r.BasicAuth()
	if !basic {
		clientID, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	client, ok := s.clients[clientID]
	if !ok || client.Secret != secret {
		tokenError(w, http.StatusUnauthorized, "invalid_client", "unknown client, or wrong secret")
		return
	}
	token := r.PostForm.Get("token")
	if g, ok := s.refresh[token]; ok && g.client.ID == client.ID {
		delete(s.refresh, token)
		s.record("revoke", g.user, clientID, http.StatusOK, "")
	}
	w.WriteHeader(http.StatusOK)
}
