// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// OAuth2 flows.
const (
	flowUserFederation = "USER_FEDERATION"
	flowOnBehalfOf     = "ON_BEHALF_OF"
)

func (s *Service) getResourceAPIKey(c *call) (map[string]any, *Refusal) {
	c.target = c.params["ResourceCredentialProviderName"]
	if _, ref := s.useToken(c); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.apiKeys[c.target]
	if !ok {
		return nil, &Refusal{404, "EntityNotExists.APIKeyCredentialProvider", fmt.Sprintf("there is no API key credential provider %.80q", c.target)}
	}
	return map[string]any{"APIKey": key.key}, nil
}

func (s *Service) getResourceOAuth2Token(c *call) (map[string]any, *Refusal) {
	c.target = c.params["ResourceCredentialProviderName"]
	t, ref := s.useToken(c)
	if ref != nil {
		return nil, ref
	}
	w, ref := s.workload(t.workload)
	if ref != nil {
		return nil, ref
	}
	flow := c.params["OAuth2Flow"]
	if t.user.none() {
		return nil, &Refusal{400, "InvalidParameter.WorkloadAccessToken", flow + " needs a user in the workload access token"}
	}
	want := &consent{workload: w, user: t.user, returnURL: c.params["ResourceOAuth2ReturnURL"], customState: c.params["CustomState"]}
	if ref := cmp.Or(jsonParam(c, "Scopes", &want.scopes), jsonParam(c, "CustomParameters", &want.custom)); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	provider, ok := s.oauth[c.target]
	if !ok {
		return nil, &Refusal{404, "EntityNotExists.OAuth2CredentialProvider", fmt.Sprintf("there is no OAuth2 credential provider %.80q", c.target)}
	}
	switch {
	case flow == flowOnBehalfOf && provider.OnBehalfOf:
		return s.onBehalfOf(c, w, t.user, provider, want.scopes)
	case flow != flowUserFederation || provider.OnBehalfOf:
		return nil, &Refusal{400, "InvalidParameter.OAuth2Flow", fmt.Sprintf("the provider does not support the flow %.40q", flow)}
	}
	want.provider = provider
	want.forced = c.params["ForceAuthentication"] == "true"
	if w.SessionBinding {
		if want.returnURL == "" {
			return nil, &Refusal{400, "MissingParameter.ResourceOAuth2ReturnURL", "session binding is on: ResourceOAuth2ReturnURL is required"}
		}
		if !slices.Contains(w.ReturnURLs, want.returnURL) {
			return nil, &Refusal{400, "Missmatch.ResourceOAuth2ReturnURL", "ResourceOAuth2ReturnURL is not one of the workload identity's AllowedResourceOAuth2ReturnURLs"}
		}
	}
	if uri := c.params["SessionURI"]; uri != "" {
		return s.continueSession(uri, want)
	}
	if !want.forced {
		if g := s.grants[grantKey{w.Name, t.user.key(), provider.Name}]; g != nil && containsAll(g.scopes, want.scopes) {
			if s.Clock.Now().Before(g.expires) {
				return map[string]any{"AccessToken": g.accessToken}, nil
			}
			if token := s.refreshGrant(c.ctx, provider, g); token != "" {
				return map[string]any{"AccessToken": token}, nil
			}
		}
	}
	return s.beginSession(want), nil
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// onBehalfOf exchanges the user's own token for one of the application that is
// the audience, without asking the user. It is called and returns with s.mu
// held.
func (s *Service) onBehalfOf(c *call, w *Workload, user Subject, p *OAuth2Provider, scopes []string) (map[string]any, *Refusal) {
	audience := c.params["Audience"]
	switch {
	case audience == "":
		return nil, &Refusal{400, "MissingParameter.Audience", "ON_BEHALF_OF needs the audience of the target application"}
	case !w.SessionBinding:
		return nil, &Refusal{400, "InvalidParameter.OAuth2Flow", "ON_BEHALF_OF needs session binding to be on"}
	case user.Token == "":
		return nil, &Refusal{400, "InvalidParameter.WorkloadAccessToken", "ON_BEHALF_OF needs a workload access token made with the user's JWT"}
	}
	form := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"}, // RFC 8693
		"subject_token": {user.Token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
		"audience": {audience},
	}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	s.mu.Unlock()
	token, failure := s.exchange(c.ctx, p, form, scopes)
	s.mu.Lock()
	switch failure {
	case "":
		return map[string]any{"AccessToken": token.accessToken}, nil
	case "invalid_target":
		return nil, &Refusal{400, "InvalidParameter.Audience", "the provider may not get tokens of this audience"}
	}
	return nil, &Refusal{400, "TokenExchangeFailed", "the authorization server refused the exchange: " + failure}
}
