// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"iter"
)

// IdentityProvider is an issuer whose users' ID tokens workload identities
// accept.
type IdentityProvider struct {
	Name string `json:"IdentityProviderName"` // Required.
	// DiscoveryURL is the issuer's OpenID Connect discovery document. Required
	// to create one.
	DiscoveryURL string `json:"DiscoveryURL"`
	// AllowedAudiences are the values of "aud" that are accepted. Required to
	// create one.
	AllowedAudiences []string `json:"AllowedAudience"`
	Description      string   `json:"Description"`

	// Answered only. The times are RFC 3339 texts in UTC.
	Arn        string `json:"IdentityProviderArn"`
	CreateTime string `json:"CreateTime"`
	UpdateTime string `json:"UpdateTime"`
}

func (p *IdentityProvider) params() params {
	out := params{"IdentityProviderName": p.Name}.text("DiscoveryURL", p.DiscoveryURL).text("Description", p.Description)
	if p.AllowedAudiences != nil {
		out["AllowedAudience"] = p.AllowedAudiences
	}
	return out
}

// CreateIdentityProvider creates an identity provider.
func (c *Client) CreateIdentityProvider(ctx context.Context, p *IdentityProvider) (*IdentityProvider, error) {
	const op = "CreateIdentityProvider"
	if err := required(op, "Name", p.Name); err != nil {
		return nil, err
	}
	return write[IdentityProvider](ctx, c, op, "IdentityProvider", p.params())
}

// IdentityProvider reads an identity provider.
func (c *Client) IdentityProvider(ctx context.Context, name string) (*IdentityProvider, error) {
	const op = "GetIdentityProvider"
	if err := required(op, "name", name); err != nil {
		return nil, err
	}
	return read[IdentityProvider](ctx, c, op, "IdentityProvider", params{"IdentityProviderName": name})
}

// UpdateIdentityProvider changes an identity provider.
func (c *Client) UpdateIdentityProvider(ctx context.Context, p *IdentityProvider) error {
	const op = "UpdateIdentityProvider"
	if err := required(op, "Name", p.Name); err != nil {
		return err
	}
	return change(ctx, c, op, p.params())
}

// DeleteIdentityProvider deletes an identity provider.
func (c *Client) DeleteIdentityProvider(ctx context.Context, name string) error {
	const op = "DeleteIdentityProvider"
	if err := required(op, "name", name); err != nil {
		return err
	}
	return change(ctx, c, op, params{"IdentityProviderName": name})
}

// IdentityProviders lists all identity providers.
func (c *Client) IdentityProviders(ctx context.Context, page *Page) iter.Seq2[*IdentityProvider, error] {
	return list[IdentityProvider](ctx, c, "ListIdentityProviders", "IdentityProviders", page, nil)
}
