// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/subtle"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// AddAccessKey registers a long-lived key of the account.
func (s *Service) AddAccessKey(id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessKeys[id] = secret
}

// AddWorkload registers a workload identity.
func (s *Service) AddWorkload(w Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.created, w.updated = s.Clock.Now(), s.Clock.Now()
	s.workloads[w.Name] = &w
}

// AddIdentityProvider registers an inbound identity provider.
func (s *Service) AddIdentityProvider(p IdentityProvider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.created, p.updated = s.Clock.Now(), s.Clock.Now()
	s.idps[p.Name] = &p
	delete(s.verifiers, p.Name)
}

// AddAPIKeyProvider registers an API key.
func (s *Service) AddAPIKeyProvider(name, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	s.apiKeys[name] = &apiKeyProvider{name, key, record{created: now, updated: now}}
}

// AddOAuth2Provider registers an outbound OAuth2 provider and returns its
// callback URL, which its authorization server must know.
func (s *Service) AddOAuth2Provider(p OAuth2Provider) (callbackURL string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.CallbackID == "" {
		p.CallbackID = randid.UUID()
	}
	p.created, p.updated = s.Clock.Now(), s.Clock.Now()
	p.vendor, p.oauthType = aliyunVendor, flowUserFederation
	p.config.Included = &includedOAuth2{p.ClientID, p.ClientSecret, p.AuthorizationEndpoint, p.TokenEndpoint}
	s.oauth[p.Name] = &p
	return s.callbackURL(&p)
}

func (s *Service) callbackURL(p *OAuth2Provider) string {
	return s.URL + "/oauth2/callback/" + p.CallbackID
}

// APIKeyProvider finds the provider of an API key, for the resources of the
// local cloud.
func (s *Service) APIKeyProvider(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for provider, p := range s.apiKeys {
		if subtle.ConstantTimeCompare([]byte(p.key), []byte(key)) == 1 {
			return provider, true
		}
	}
	return "", false
}
