// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"iter"

	"github.com/agent-identity/agent-identity-go/identity"
)

// Vendors of OAuth2 credential providers.
const (
	VendorAliyun = "AliyunOAuth2"
	VendorIDaaS  = "IDaaS"
	VendorCustom = "CustomOAuth2"
)

// OAuth2Provider is an OAuth2 credential provider: an application at an
// authorization server, with which users grant access.
type OAuth2Provider struct {
	Name string // Required.
	// Vault is the token vault; "" is the default one.
	Vault       string
	Description string
	// Vendor is one of the vendors, or a newer one. Required.
	Vendor string
	// CallbackURL is the redirect address that is registered at the
	// authorization server.
	CallbackURL string
	// OAuthType is the flow, such as identity.FlowUserFederation. It is sent
	// when a provider is created, and cannot be changed.
	OAuthType string
	// Config is the application. Required to create one.
	Config OAuth2Application

	// Answered only. The times are RFC 3339 texts in UTC.
	Arn, CreateTime, UpdateTime string
}

// OAuth2Application is an application at an authorization server.
type OAuth2Application struct {
	ClientID string
	// ClientSecret is empty for a public client.
	ClientSecret identity.Secret
	// AuthorizationEndpoint and TokenEndpoint are optional for vendors that the
	// service knows.
	AuthorizationEndpoint, TokenEndpoint string
	// DiscoveryURL is the discovery document of a server that the service does
	// not know. For the vendor [VendorCustom] either it or Issuer with both
	// endpoints is required; for others they are not sent.
	DiscoveryURL string
	Issuer       string
	// PKCE, of a custom server without discovery; nil leaves it to the service.
	PKCE *bool
}

// wire is the application as it travels.
func (a *OAuth2Application) wire(vendor string) map[string]any {
	one := map[string]any{}
	set := func(in map[string]any, name, value string) {
		if value != "" {
			in[name] = value
		}
	}
	set(one, "ClientId", a.ClientID)
	set(one, "ClientSecret", a.ClientSecret.Reveal())
	if vendor != VendorCustom {
		set(one, "AuthorizationEndpoint", a.AuthorizationEndpoint)
		set(one, "TokenEndpoint", a.TokenEndpoint)
		return map[string]any{"IncludedOAuth2ProviderConfig": one}
	}
	discovery := map[string]any{}
	set(discovery, "DiscoveryURL", a.DiscoveryURL)
	if a.DiscoveryURL == "" {
		server := map[string]any{}
		set(server, "Issuer", a.Issuer)
		if a.AuthorizationEndpoint != "" {
			server["AuthorizationRequest"] = map[string]any{"Endpoint": a.AuthorizationEndpoint}
		}
		if a.TokenEndpoint != "" {
			server["TokenRequest"] = map[string]any{"Endpoint": a.TokenEndpoint}
		}
		if a.PKCE != nil {
			server["PKCE"] = map[string]any{"Enabled": *a.PKCE}
		}
		discovery["AuthorizationServerMetadata"] = server
	}
	one["OAuth2Discovery"] = discovery
	return map[string]any{"CustomOAuth2ProviderConfig": one}
}

// answer is a provider as the service describes it.
type oauth2Answer struct {
	Name        string `json:"OAuth2CredentialProviderName"`
	Vault       string `json:"TokenVaultName"`
	Description string
	Vendor      string `json:"CredentialProviderVendor"`
	CallbackURL string
	OAuthType   string
	Config      struct {
		Included *struct {
			ClientID              string `json:"ClientId"`
			AuthorizationEndpoint string
			TokenEndpoint         string
		} `json:"IncludedOAuth2ProviderConfig"`
		Custom *struct {
			ClientID  string `json:"ClientId"`
			Discovery struct {
				DiscoveryURL string
				Server       struct {
					Issuer               string
					AuthorizationRequest struct{ Endpoint string }
					TokenRequest         struct{ Endpoint string }
					PKCE                 *struct{ Enabled bool }
				} `json:"AuthorizationServerMetadata"`
			} `json:"OAuth2Discovery"`
		} `json:"CustomOAuth2ProviderConfig"`
	} `json:"OAuth2ProviderConfig"`
	Arn        string `json:"CredentialProviderArn"`
	CreateTime string
	UpdateTime string
}

// provider drops the client secret, should the service ever answer it.
func (a *oauth2Answer) provider() *OAuth2Provider {
	p := &OAuth2Provider{
		Name: a.Name, Vault: a.Vault, Description: a.Description, Vendor: a.Vendor, CallbackURL: a.CallbackURL, OAuthType: a.OAuthType,
		Arn: a.Arn, CreateTime: a.CreateTime, UpdateTime: a.UpdateTime,
	}
	if in := a.Config.Included; in != nil {
		p.Config = OAuth2Application{ClientID: in.ClientID, AuthorizationEndpoint: in.AuthorizationEndpoint, TokenEndpoint: in.TokenEndpoint}
	}
	if in := a.Config.Custom; in != nil {
		server := in.Discovery.Server
		p.Config = OAuth2Application{
			ClientID: in.ClientID, DiscoveryURL: in.Discovery.DiscoveryURL, Issuer: server.Issuer,
			AuthorizationEndpoint: server.AuthorizationRequest.Endpoint, TokenEndpoint: server.TokenRequest.Endpoint,
		}
		if server.PKCE != nil {
			p.Config.PKCE = &server.PKCE.Enabled
		}
	}
	return p
}

func (p *OAuth2Provider) params() params {
	out := oauth2Provider(p.Name, p.Vault).
		text("CredentialProviderVendor", p.Vendor).text("CallbackURL", p.CallbackURL).text("Description", p.Description)
	if p.Config != (OAuth2Application{}) {
		out["OAuth2ProviderConfig"] = p.Config.wire(p.Vendor)
	}
	return out
}

func oauth2Provider(name, vault string) params {
	return params{"OAuth2CredentialProviderName": name}.text("TokenVaultName", vault)
}

// CreateOAuth2Provider creates an OAuth2 credential provider.
func (c *Client) CreateOAuth2Provider(ctx context.Context, p *OAuth2Provider) (*OAuth2Provider, error) {
	const op = "CreateOAuth2CredentialProvider"
	if err := errors.Join(required(op, "Name", p.Name), required(op, "Vendor", p.Vendor)); err != nil {
		return nil, err
	}
	out, err := write[oauth2Answer](ctx, c, op, "OAuth2CredentialProvider", p.params().text("OAuthType", p.OAuthType), p.Config.ClientSecret)
	if err != nil {
		return nil, err
	}
	return out.provider(), nil
}

// OAuth2Provider reads an OAuth2 credential provider, without the client secret.
// vault may be "".
func (c *Client) OAuth2Provider(ctx context.Context, name, vault string) (*OAuth2Provider, error) {
	const op = "GetOAuth2CredentialProvider"
	if err := required(op, "name", name); err != nil {
		return nil, err
	}
	out, err := read[oauth2Answer](ctx, c, op, "OAuth2CredentialProvider", oauth2Provider(name, vault))
	if err != nil {
		return nil, err
	}
	return out.provider(), nil
}

// UpdateOAuth2Provider changes an OAuth2 credential provider. The vendor is
// required where the application is changed, too.
func (c *Client) UpdateOAuth2Provider(ctx context.Context, p *OAuth2Provider) error {
	const op = "UpdateOAuth2CredentialProvider"
	err := required(op, "Name", p.Name)
	if p.Config != (OAuth2Application{}) {
		err = errors.Join(err, required(op, "Vendor", p.Vendor))
	}
	if err != nil {
		return err
	}
	return change(ctx, c, op, p.params(), p.Config.ClientSecret)
}

// DeleteOAuth2Provider deletes an OAuth2 credential provider, and what users
// granted with it.
func (c *Client) DeleteOAuth2Provider(ctx context.Context, name, vault string) error {
	const op = "DeleteOAuth2CredentialProvider"
	if err := required(op, "name", name); err != nil {
		return err
	}
	return change(ctx, c, op, oauth2Provider(name, vault))
}

// OAuth2Providers lists the OAuth2 credential providers of a vault; "" is the
// default one.
func (c *Client) OAuth2Providers(ctx context.Context, vault string, page *Page) iter.Seq2[*OAuth2Provider, error] {
	return func(yield func(*OAuth2Provider, error) bool) {
		answers := list[oauth2Answer](ctx, c, "ListOAuth2CredentialProviders", "OAuth2CredentialProviders", page, params{}.text("TokenVaultName", vault))
		for a, err := range answers {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(a.provider(), nil) {
				return
			}
		}
	}
}
