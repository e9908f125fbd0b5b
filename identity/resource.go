// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// GetResourceAPIKeyRequest asks for an API key from the token vault.
type GetResourceAPIKeyRequest struct {
	// WorkloadAccessToken is what the GetWorkloadAccessToken operations
	// return. Required.
	WorkloadAccessToken Secret
	// Provider is the name of the API key credential provider. Required.
	Provider string
	// Signer signs the call; usually the STS credentials of the workload
	// identity's role. If nil, the client's own credential signs.
	Signer *STSCredentials
}

// GetResourceAPIKey returns an API key. No expiry is returned.
func (c *Client) GetResourceAPIKey(ctx context.Context, req *GetResourceAPIKeyRequest) (Secret, error) {
	const op = "GetResourceAPIKey"
	var out struct{ APIKey Secret }
	meta, err := c.call(ctx, c.data, dataRequest(op, acs.Params{
		"WorkloadAccessToken":            req.WorkloadAccessToken.Reveal(),
		"ResourceCredentialProviderName": req.Provider,
	}), req.Signer, &out)
	if err != nil {
		return Secret{}, err
	}
	if out.APIKey.IsZero() {
		return Secret{}, incomplete(op, "APIKey", meta)
	}
	return out.APIKey, nil
}

// OAuth2 flows of GetResourceOAuth2Token.
const (
	// FlowUserFederation asks the user for consent. The default.
	FlowUserFederation = "USER_FEDERATION"
	// FlowOnBehalfOf exchanges the user's federated sign-in for a token of
	// the application named by Audience, without asking the user.
	FlowOnBehalfOf = "ON_BEHALF_OF"
)

// GetResourceOAuth2TokenRequest asks for an OAuth2 token from the token vault.
type GetResourceOAuth2TokenRequest struct {
	// WorkloadAccessToken is what the GetWorkloadAccessToken operations
	// return, with a user in it. Required.
	WorkloadAccessToken Secret
	// Provider is the name of the OAuth2 credential provider. Required.
	Provider string
	// Flow is the OAuth2 flow. If empty, [FlowUserFederation].
	Flow string
	// Scopes are the scopes asked for; nil leaves them out.
	Scopes []string
	// ReturnURL is where the user's browser goes after consent. Required
	// while session binding is on, and it must be one of the workload
	// identity's AllowedResourceOAuth2ReturnURLs.
	ReturnURL string
	// ForceAuthentication asks the user again although a token is stored.
	// nil leaves it out.
	ForceAuthentication *bool
	// CustomState is handed back to ReturnURL as state.
	CustomState string
	// CustomParameters are added to the authorization request; nil leaves
	// them out.
	CustomParameters map[string]string
	// SessionURI continues a session that an earlier answer began: the whole
	// request is repeated with it until a token comes.
	SessionURI string
	// Audience names the target application of [FlowOnBehalfOf].
	Audience string
	// Signer signs the call; usually the STS credentials of the workload
	// identity's role. If nil, the client's own credential signs.
	Signer *STSCredentials
}

// ResourceOAuth2Token is the answer of GetResourceOAuth2Token: a token, or a
// session in which the user has to consent.
type ResourceOAuth2Token struct {
	// AccessToken is set when a token is at hand.
	AccessToken Secret
	// AuthorizationURL is where the user consents. It works once. Show it to
	// this user only.
	AuthorizationURL string
	// SessionURI continues the session.
	SessionURI string
	// SessionStatus is documented as IN_PROGRESS; treat what you do not know
	// as pending.
	SessionStatus string
}

// GetResourceOAuth2Token returns an OAuth2 token, or a session in which the
// user has to consent: exactly one of AccessToken and SessionURI is set, as
// far as the service keeps to its documentation. No expiry is returned.
func (c *Client) GetResourceOAuth2Token(ctx context.Context, req *GetResourceOAuth2TokenRequest) (*ResourceOAuth2Token, error) {
	const op = "GetResourceOAuth2Token"
	flow := req.Flow
	if flow == "" {
		flow = FlowUserFederation
	}
	params := acs.Params{
		"WorkloadAccessToken":            req.WorkloadAccessToken.Reveal(),
		"ResourceCredentialProviderName": req.Provider,
		"OAuth2Flow":                     flow,
	}
	if req.Scopes != nil {
		params.Set("Scopes", req.Scopes)
	}
	if req.CustomParameters != nil {
		params.Set("CustomParameters", req.CustomParameters)
	}
	if req.ForceAuthentication != nil {
		params.Set("ForceAuthentication", *req.ForceAuthentication)
	}
	params.SetNonEmpty("ResourceOAuth2ReturnURL", req.ReturnURL)
	params.SetNonEmpty("CustomState", req.CustomState)
	params.SetNonEmpty("SessionURI", req.SessionURI)
	params.SetNonEmpty("Audience", req.Audience)

	var out struct {
		AccessToken                                 Secret
		OAuth2Token, ResourceOAuth2Token            Secret // names seen for ON_BEHALF_OF
		AuthorizationURL, SessionURI, SessionStatus string
	}
	meta, err := c.call(ctx, c.data, dataRequest(op, params), req.Signer, &out)
	if err != nil {
		return nil, err
	}
	for _, other := range []Secret{out.OAuth2Token, out.ResourceOAuth2Token} {
		if out.AccessToken.IsZero() {
			out.AccessToken = other
		}
	}
	if out.AccessToken.IsZero() && out.SessionURI == "" && out.SessionStatus == "" {
		return nil, incomplete(op, "AccessToken and no SessionURI", meta)
	}
	return &ResourceOAuth2Token{
		AccessToken: out.AccessToken, AuthorizationURL: out.AuthorizationURL,
		SessionURI: out.SessionURI, SessionStatus: out.SessionStatus,
	}, nil
}

// UserIdentifier proves which user confirms a session: the very artifact that
// made the workload access token. Another token of the same user is refused.
type UserIdentifier struct {
	// UserToken is the user's JWT, where GetWorkloadAccessTokenForJWT was
	// called with it.
	UserToken Secret
	// UserID is the application's user id, where
	// GetWorkloadAccessTokenForUserID was called with it.
	UserID string
}

// CompleteResourceTokenAuth confirms that the user who began the session is
// the one whose browser came back from the authorization server. Call it only
// after checking exactly that. It is not repeated when an answer is lost.
func (c *Client) CompleteResourceTokenAuth(ctx context.Context, sessionURI string, user UserIdentifier) error {
	identifier := map[string]string{}
	if user.UserID != "" {
		identifier["UserId"] = user.UserID
	}
	if !user.UserToken.IsZero() {
		identifier["UserJWT"] = user.UserToken.Reveal()
	}
	params := acs.Params{"SessionURI": sessionURI}
	params.Set("UserIdentifier", identifier)
	req := dataRequest("CompleteResourceTokenAuth", params)
	req.Repeatable = false
	req.Secrets = append(req.Secrets, user.UserToken.Reveal())
	_, err := c.call(ctx, c.data, req, nil, nil)
	return err
}
