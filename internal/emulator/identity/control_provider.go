// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"net/url"
	"strings"
)

const wellKnown = "/.well-known/openid-configuration"

func (p *IdentityProvider) describe() map[string]any {
	return map[string]any{
		"IdentityProviderName": p.Name, "IdentityProviderArn": controlArn("identityprovider", p.Name), "DiscoveryURL": p.Issuer + wellKnown,
		"AllowedAudience": p.Audiences, "Description": p.Description, "CreateTime": stamp(p.created), "UpdateTime": stamp(p.updated),
	}
}

// readIdentityProvider reads what is sent into p.
func readIdentityProvider(c *call, p *IdentityProvider) *Refusal {
	if text := c.params["DiscoveryURL"]; text != "" {
		issuer, ok := strings.CutSuffix(text, wellKnown)
		if u, err := url.Parse(issuer); !ok || err != nil || u.Host == "" {
			return &Refusal{400, "InvalidParameter.DiscoveryURL", "want the address of an OpenID Connect discovery document"}
		}
		p.Issuer = issuer
	}
	if ref := jsonParam(c, "AllowedAudience", &p.Audiences); ref != nil {
		return ref
	}
	if len(p.Audiences) == 0 {
		return &Refusal{400, "InvalidParameter.AllowedAudience", "want at least one audience"}
	}
	return nil
}

func (s *Service) createIdentityProvider(c *call) (map[string]any, *Refusal) {
	p := &IdentityProvider{Name: c.params["IdentityProviderName"], record: s.newRecord(c)}
	if ref := cmp.Or(checkName(c, "IdentityProviderName"), readIdentityProvider(c, p)); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idps[p.Name] != nil {
		return nil, exists("IdentityProvider", p.Name)
	}
	s.idps[p.Name] = p
	return map[string]any{"IdentityProvider": p.describe()}, nil
}

// findIdentityProvider is called with s.mu held.
func (s *Service) findIdentityProvider(c *call) (*IdentityProvider, *Refusal) {
	c.target = c.params["IdentityProviderName"]
	p := s.idps[c.target]
	if p == nil {
		return nil, absent("IdentityProvider", c.target)
	}
	return p, nil
}

func (s *Service) getIdentityProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ref := s.findIdentityProvider(c)
	if ref != nil {
		return nil, ref
	}
	return map[string]any{"IdentityProvider": p.describe()}, nil
}

func (s *Service) updateIdentityProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ref := s.findIdentityProvider(c)
	if ref != nil {
		return nil, ref
	}
	changed := *p
	if ref := readIdentityProvider(c, &changed); ref != nil {
		return nil, ref
	}
	s.update(&changed.record, c)
	s.idps[c.target] = &changed
	delete(s.verifiers, c.target)
	return map[string]any{}, nil
}

func (s *Service) deleteIdentityProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ref := s.findIdentityProvider(c); ref != nil {
		return nil, ref
	}
	delete(s.idps, c.target)
	delete(s.verifiers, c.target)
	return map[string]any{}, nil
}

func (s *Service) listIdentityProviders(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return listObjects(c, "IdentityProviders", s.idps, (*IdentityProvider).describe)
}

// apiKeyProvider keeps an API key.
type apiKeyProvider struct {
	name, key string
	record
}

// describe leaves the key out, as the service does.
func (p *apiKeyProvider) describe() map[string]any {
	return map[string]any{
		"APIKeyCredentialProviderName": p.name, "CredentialProviderArn": vaultArn("apikeycredentialprovider", p.name), "Description": p.Description,
		"TokenVaultName": defaultVault, "CreateTime": stamp(p.created), "UpdateTime": stamp(p.updated),
	}
}

func (s *Service) createAPIKeyProvider(c *call) (map[string]any, *Refusal) {
	if ref := checkName(c, "APIKeyCredentialProviderName"); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apiKeys[c.target] != nil {
		return nil, exists("APIKeyCredentialProvider", c.target)
	}
	p := &apiKeyProvider{c.target, c.params["APIKey"], s.newRecord(c)}
	s.apiKeys[c.target] = p
	answer := p.describe()
	delete(answer, "UpdateTime") // as the service answers a creation
	return map[string]any{"APIKeyCredentialProvider": answer}, nil
}

// findAPIKeyProvider is called with s.mu held.
func (s *Service) findAPIKeyProvider(c *call) (*apiKeyProvider, *Refusal) {
	c.target = c.params["APIKeyCredentialProviderName"]
	if ref := checkVault(c); ref != nil {
		return nil, ref
	}
	p := s.apiKeys[c.target]
	if p == nil {
		return nil, absent("APIKeyCredentialProvider", c.target)
	}
	return p, nil
}

func (s *Service) getAPIKeyProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ref := s.findAPIKeyProvider(c)
	if ref != nil {
		return nil, ref
	}
	return map[string]any{"APIKeyCredentialProvider": p.describe()}, nil
}

func (s *Service) updateAPIKeyProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ref := s.findAPIKeyProvider(c)
	if ref != nil {
		return nil, ref
	}
	p.key = cmp.Or(c.params["APIKey"], p.key)
	s.update(&p.record, c)
	return map[string]any{}, nil
}

func (s *Service) deleteAPIKeyProvider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ref := s.findAPIKeyProvider(c); ref != nil {
		return nil, ref
	}
	delete(s.apiKeys, c.target)
	return map[string]any{}, nil
}

func (s *Service) listAPIKeyProviders(c *call) (map[string]any, *Refusal) {
	if ref := checkVault(c); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return listObjects(c, "APIKeyCredentialProviders", s.apiKeys, (*apiKeyProvider).describe)
}
