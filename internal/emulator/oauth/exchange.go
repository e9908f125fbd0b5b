// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"

	// exchangedLife is short: there is no refresh token.
	exchangedLife = 20 * time.Minute
)

// exchange swaps a user's ID token for an access token of another application
// (RFC 8693), without asking the user. It is called with s.mu held.
func (s *Server) exchange(w http.ResponseWriter, client Client, f url.Values) {
	fail := func(code, description string) {
		s.record("token", "", client.ID, http.StatusBadRequest, code)
		tokenError(w, http.StatusBadRequest, code, description)
	}
	if f.Get("subject_token_type") != typeIDToken {
		fail("invalid_request", "subject_token_type must be "+typeIDToken)
		return
	}
	user, err := s.verifyIDToken(f.Get("subject_token"))
	if err != nil {
		fail("invalid_grant", "the subject token is not valid: "+err.Error())
		return
	}
	audience := f.Get("audience")
	if !slices.Contains(client.Audiences, audience) {
		fail("invalid_target", "the client may not get tokens of this audience")
		return
	}
	g := &grant{client: client, user: user, scopes: strings.Fields(f.Get("scope"))}
	for _, scope := range g.scopes {
		if !slices.Contains(client.Scopes, scope) {
			fail("invalid_scope", "the client may not ask for "+scope)
			return
		}
	}
	access, err := s.signAccess(g, audience, exchangedLife)
	if err != nil {
		tokenError(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	s.record("exchange", user, client.ID, http.StatusOK, "")
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": access, "issued_token_type": typeAccess, "token_type": "Bearer",
		"expires_in": int(exchangedLife / time.Second), "scope": strings.Join(g.scopes, " "),
	})
}

func (s *Server) verifyIDToken(token string) (subject string, err error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", err
	}
	var c accessToken
	if err := parsed.Claims(signingKey().Public(), &c); err != nil {
		return "", err
	}
	if c.ClientID != "" || c.Subject == "" {
		return "", jwt.ErrInvalidSubject
	}
	return c.Subject, c.ValidateWithLeeway(jwt.Expected{Issuer: s.Issuer(), Time: s.Clock.Now()}, 0)
}
