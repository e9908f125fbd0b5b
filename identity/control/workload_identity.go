// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"iter"

	"github.com/agent-identity/agent-identity-go/identity"
)

// WorkloadIdentityUpdate says what to change of a workload identity.
type WorkloadIdentityUpdate struct {
	Name                                   string // Required.
	Description, RoleArn, IdentityProvider string
	// AllowedReturnURLs is the new list; nil leaves it.
	AllowedReturnURLs []string
	// SessionBindingEnabled binds OAuth2 consent to the user who asked; nil
	// leaves it.
	SessionBindingEnabled *bool
}

// CreateWorkloadIdentity is [identity.Client.CreateWorkloadIdentity].
func (c *Client) CreateWorkloadIdentity(ctx context.Context, req *identity.CreateWorkloadIdentityRequest) (*identity.WorkloadIdentity, error) {
	return c.c.CreateWorkloadIdentity(ctx, req)
}

// WorkloadIdentity reads a workload identity.
func (c *Client) WorkloadIdentity(ctx context.Context, name string) (*identity.WorkloadIdentity, error) {
	const op = "GetWorkloadIdentity"
	if err := required(op, "name", name); err != nil {
		return nil, err
	}
	return read[identity.WorkloadIdentity](ctx, c, op, "WorkloadIdentity", params{"WorkloadIdentityName": name})
}

// UpdateWorkloadIdentity changes a workload identity.
func (c *Client) UpdateWorkloadIdentity(ctx context.Context, u *WorkloadIdentityUpdate) error {
	const op = "UpdateWorkloadIdentity"
	if err := required(op, "Name", u.Name); err != nil {
		return err
	}
	p := params{"WorkloadIdentityName": u.Name}.
		text("Description", u.Description).text("RoleArn", u.RoleArn).text("IdentityProviderName", u.IdentityProvider)
	if u.AllowedReturnURLs != nil {
		p["AllowedResourceOAuth2ReturnURLs"] = u.AllowedReturnURLs
	}
	if u.SessionBindingEnabled != nil {
		p["SessionBindingEnabled"] = *u.SessionBindingEnabled
	}
	return change(ctx, c, op, p)
}

// DeleteWorkloadIdentity deletes a workload identity.
func (c *Client) DeleteWorkloadIdentity(ctx context.Context, name string) error {
	const op = "DeleteWorkloadIdentity"
	if err := required(op, "name", name); err != nil {
		return err
	}
	return change(ctx, c, op, params{"WorkloadIdentityName": name})
}

// WorkloadIdentities lists all workload identities.
func (c *Client) WorkloadIdentities(ctx context.Context, page *Page) iter.Seq2[*identity.WorkloadIdentity, error] {
	return list[identity.WorkloadIdentity](ctx, c, "ListWorkloadIdentities", "WorkloadIdentities", page, nil)
}
