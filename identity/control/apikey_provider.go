// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"iter"

	"github.com/agent-identity/agent-identity-go/identity"
)

// APIKeyProvider is an API key credential provider: a key in a token vault.
type APIKeyProvider struct {
	Name string `json:"APIKeyCredentialProviderName"` // Required.
	// Vault is the token vault; "" is the default one.
	Vault       string `json:"TokenVaultName"`
	Description string `json:"Description"`
	// APIKey is the key, required to create one. It is never answered.
	APIKey identity.Secret `json:"-"`

	// Answered only. The times are RFC 3339 texts in UTC; the answer to a
	// creation has no UpdateTime.
	Arn        string `json:"CredentialProviderArn"`
	CreateTime string `json:"CreateTime"`
	UpdateTime string `json:"UpdateTime"`
}

func (p *APIKeyProvider) params() params {
	out := apiKeyProvider(p.Name, p.Vault).text("Description", p.Description)
	if !p.APIKey.IsZero() {
		out["APIKey"] = p.APIKey
	}
	return out
}

func apiKeyProvider(name, vault string) params {
	return params{"APIKeyCredentialProviderName": name}.text("TokenVaultName", vault)
}

// CreateAPIKeyProvider creates an API key credential provider.
func (c *Client) CreateAPIKeyProvider(ctx context.Context, p *APIKeyProvider) (*APIKeyProvider, error) {
	const op = "CreateAPIKeyCredentialProvider"
	if err := required(op, "Name", p.Name); err != nil {
		return nil, err
	}
	return write[APIKeyProvider](ctx, c, op, "APIKeyCredentialProvider", p.params())
}

// APIKeyProvider reads an API key credential provider, without the key. vault
// may be "".
func (c *Client) APIKeyProvider(ctx context.Context, name, vault string) (*APIKeyProvider, error) {
	const op = "GetAPIKeyCredentialProvider"
	if err := required(op, "name", name); err != nil {
		return nil, err
	}
	return read[APIKeyProvider](ctx, c, op, "APIKeyCredentialProvider", apiKeyProvider(name, vault))
}

// UpdateAPIKeyProvider changes an API key credential provider.
func (c *Client) UpdateAPIKeyProvider(ctx context.Context, p *APIKeyProvider) error {
	const op = "UpdateAPIKeyCredentialProvider"
	if err := required(op, "Name", p.Name); err != nil {
		return err
	}
	return change(ctx, c, op, p.params())
}

// DeleteAPIKeyProvider deletes an API key credential provider, and the key.
func (c *Client) DeleteAPIKeyProvider(ctx context.Context, name, vault string) error {
	const op = "DeleteAPIKeyCredentialProvider"
	if err := required(op, "name", name); err != nil {
		return err
	}
	return change(ctx, c, op, apiKeyProvider(name, vault))
}

// APIKeyProviders lists the API key credential providers of a vault; "" is the
// default one.
func (c *Client) APIKeyProviders(ctx context.Context, vault string, page *Page) iter.Seq2[*APIKeyProvider, error] {
	return list[APIKeyProvider](ctx, c, "ListAPIKeyCredentialProviders", "APIKeyCredentialProviders", page, params{}.text("TokenVaultName", vault))
}
