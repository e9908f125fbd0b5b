// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// aliyunVendor is the vendor whose endpoints the service knows: the local
// cloud's own authorization server.
const aliyunVendor = "AliyunOAuth2"

// describe leaves the client secret out.
func (s *Service) describeOAuth2(p *OAuth2Provider) map[string]any {
	config := p.config
	if in := config.Included; in != nil {
		public := *in
		public.ClientSecret = ""
		config.Included = &public
	}
	if in := config.Custom; in != nil {
		public := *in
		public.ClientSecret = ""
		config.Custom = &public
	}
	return map[string]any{
		"OAuth2CredentialProviderName": p.Name, "CredentialProviderArn": vaultArn("oauth2credentialprovider", p.Name), "Description": p.Description,
		"CredentialProviderVendor": p.vendor, "CallbackURL": s.callbackURL(p), "OAuthType": p.oauthType, "OAuth2ProviderConfig": config,
		"TokenVaultName": defaultVault, "CreateTime": stamp(p.created), "UpdateTime": stamp(p.updated),
	}
}

// readOAuth2 reads what is sent into p. It asks the authorization server, so it
// is called without s.mu.
func (s *Service) readOAuth2(c *call, p *OAuth2Provider) *Refusal {
	p.vendor = cmp.Or(c.params["CredentialProviderVendor"], p.vendor)
	if text := c.params["CallbackURL"]; text != "" {
		id, ok := strings.CutPrefix(text, s.URL+"/oauth2/callback/")
		if !ok || !namePattern.MatchString(id) {
			return &Refusal{400, "InvalidParameter.CallbackURL", "want an address below " + s.URL + "/oauth2/callback/"}
		}
		p.CallbackID = id
	}
	if _, sent := c.params["OAuth2ProviderConfig"]; !sent {
		return nil
	}
	malformed := func(what string) *Refusal { return &Refusal{400, "InvalidParameter.OAuth2ProviderConfig", what} }
	p.config = oauth2Config{}
	if ref := jsonParam(c, "OAuth2ProviderConfig", &p.config); ref != nil {
		return ref
	}
	in, custom := p.config.Included, p.config.Custom
	switch {
	case (in == nil) == (custom == nil):
		return malformed("want IncludedOAuth2ProviderConfig or CustomOAuth2ProviderConfig")
	case in != nil:
		p.ClientID, p.ClientSecret = in.ClientID, in.ClientSecret
		p.AuthorizationEndpoint, p.TokenEndpoint = in.AuthorizationEndpoint, in.TokenEndpoint
		if p.vendor == aliyunVendor {
			p.AuthorizationEndpoint = cmp.Or(p.AuthorizationEndpoint, s.URL+"/oauth/v1/auth")
			p.TokenEndpoint = cmp.Or(p.TokenEndpoint, s.URL+"/oauth/v1/token")
		}
	case custom.Discovery.DiscoveryURL != "":
		p.ClientID, p.ClientSecret = custom.ClientID, custom.ClientSecret
		var ref *Refusal
		if p.AuthorizationEndpoint, p.TokenEndpoint, ref = s.discover(c, custom.Discovery.DiscoveryURL); ref != nil {
			return ref
		}
	case custom.Discovery.Server != nil:
		p.ClientID, p.ClientSecret = custom.ClientID, custom.ClientSecret
		p.AuthorizationEndpoint, p.TokenEndpoint = custom.Discovery.Server.AuthorizationRequest.Endpoint, custom.Discovery.Server.TokenRequest.Endpoint
	}
	for _, endpoint := range []string{p.AuthorizationEndpoint, p.TokenEndpoint} {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" {
			return malformed("the authorization server's endpoints are missing, and the vendor has none")
		}
	}
	if p.ClientID == "" {
		return malformed("ClientId is required")
	}
	return nil
}

func (s *Service) createOAuth2Provider(c *call) (map[string]any, *Refusal) {
	p := &OAuth2Provider{
		Name: c.params["OAuth2CredentialProviderName"], CallbackID: randid.UUID(), record: s.newRecord(c),
		oauthType: cmp.Or(c.params["OAuthType"], flowUserFederation),
	}
	p.OnBehalfOf = p.oauthType == flowOnBehalfOf
	if ref := checkName(c, "OAuth2CredentialProviderName"); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	taken := s.oauth[p.Name] != nil
	s.mu.Unlock()
	if !taken {
		if ref := s.readOAuth2(c, p); ref != nil {
			return nil, ref
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oauth[p.Name] != nil {
		return nil, exists("OAuth2CredentialProvider", p.Name)
	}
	s.oauth[p.Name] = p
	return map[string]any{"OAuth2CredentialProvider": s.describeOAuth2(p)}, nil
}

// findOAuth2Provider is called with s.mu held.
func (s *Service) findOAuth2Provider(c *call) (*OAuth2Provider, *Refusal) {
	c.target = c.params["OAuth2CredentialProviderName"]
	if ref := checkVault(c); ref != nil {
		return nil, ref
	}
	p := s.oauth[c.target]
	if p == nil {
		return nil, absent("OAuth2CredentialProvider", c.target)
	}
	return p, nil
}

func (s *Service) getOAuth2Provider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ref := s.findOAuth2Provider(c)
	if ref != nil {
		return nil, ref
	}
	return map[string]any{"OAuth2CredentialProvider": s.describeOAuth2(p)}, nil
}

func (s *Service) updateOAuth2Provider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	p, ref := s.findOAuth2Provider(c)
	s.mu.Unlock()
	if ref != nil {
		return nil, ref
	}
	changed := *p
	if ref := s.readOAuth2(c, &changed); ref != nil {
		return nil, ref
	}
	s.update(&changed.record, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oauth[changed.Name] == nil {
		return nil, absent("OAuth2CredentialProvider", changed.Name)
	}
	s.oauth[changed.Name] = &changed
	return map[string]any{}, nil
}

// deleteOAuth2Provider deletes a provider, and what was granted with it.
func (s *Service) deleteOAuth2Provider(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ref := s.findOAuth2Provider(c); ref != nil {
		return nil, ref
	}
	delete(s.oauth, c.target)
	for key := range s.grants {
		if key.provider == c.target {
			delete(s.grants, key)
		}
	}
	return map[string]any{}, nil
}

func (s *Service) listOAuth2Providers(c *call) (map[string]any, *Refusal) {
	if ref := checkVault(c); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return listObjects(c, "OAuth2CredentialProviders", s.oauth, s.describeOAuth2)
}

// oauth2Config is the parameter OAuth2ProviderConfig.
type oauth2Config struct {
	Included *includedOAuth2 `json:"IncludedOAuth2ProviderConfig,omitempty"`
	Custom   *struct {
		ClientID     string `json:"ClientId"`
		ClientSecret string `json:",omitempty"`
		Discovery    struct {
			DiscoveryURL string          `json:",omitempty"`
			Server       *oauth2Metadata `json:"AuthorizationServerMetadata,omitempty"`
		} `json:"OAuth2Discovery"`
	} `json:"CustomOAuth2ProviderConfig,omitempty"`
}

type includedOAuth2 struct {
	ClientID              string `json:"ClientId"`
	ClientSecret          string `json:",omitempty"`
	AuthorizationEndpoint string `json:",omitempty"`
	TokenEndpoint         string `json:",omitempty"`
}

type oauth2Metadata struct {
	Issuer               string
	AuthorizationRequest struct{ Endpoint string }
	TokenRequest         struct{ Endpoint string }
	PKCE                 *struct{ Enabled bool } `json:",omitempty"`
}

// discover reads the endpoints of an authorization server.
func (s *Service) discover(c *call, address string) (authorization, token string, ref *Refusal) {
	unreachable := &Refusal{400, "InvalidOAuthDiscoveryURL", "the discovery document cannot be read, or is not its issuer's"}
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", "", unreachable
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return "", "", unreachable
	}
	defer resp.Body.Close()
	var document struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&document)
	if err != nil || resp.StatusCode != http.StatusOK || document.Issuer+wellKnown != address || document.Authorization == "" || document.Token == "" {
		return "", "", unreachable
	}
	return document.Authorization, document.Token, nil
}
