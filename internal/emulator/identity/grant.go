// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
)

type grantKey struct{ workload, user, provider string }

// storedGrant is what the token vault keeps.
type storedGrant struct {
	accessToken, refreshToken string
	scopes                    []string
	expires                   time.Time
}

// refreshGrant renews a stored token, as the vault does. It is called and
// returns with s.mu held.
func (s *Service) refreshGrant(ctx context.Context, p *OAuth2Provider, g *storedGrant) string {
	refreshToken := g.refreshToken
	s.mu.Unlock()
	renewed, failure := s.exchange(ctx, p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}, g.scopes)
	s.mu.Lock()
	if failure != "" {
		return ""
	}
	*g = *renewed
	return g.accessToken
}

// exchange calls the provider's token endpoint.
func (s *Service) exchange(ctx context.Context, p *OAuth2Provider, form url.Values, scopes []string) (*storedGrant, string) {
	form.Set("client_id", p.ClientID)
	if p.ClientSecret != "" {
		form.Set("client_secret", p.ClientSecret)
	}
	const unreachable = "token_endpoint_failed"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, unreachable
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, unreachable
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int    `json:"expires_in"`
		Scope        string `json:"scope"`
		Error        string `json:"error"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, core.MaxBody)).Decode(&answer); err != nil || answer.AccessToken == "" {
		return nil, cmp.Or(answer.Error, unreachable)
	}
	if answer.Scope != "" {
		scopes = strings.Fields(answer.Scope)
	}
	return &storedGrant{
		accessToken: answer.AccessToken, refreshToken: answer.RefreshToken, scopes: scopes,
		expires: s.Clock.Now().Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, ""
}
