// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// CreateWorkloadIdentityRequest describes a workload identity to create.
// Fields left at their zero value are not sent.
type CreateWorkloadIdentityRequest struct {
	Name        string // Required.
	Description string
	// RoleArn is the RAM role the workload runs as. Without a role, fetching
	// credentials fails with MissingRoleArn.
	RoleArn string
	// CreateRAMRole lets the service create the role.
	CreateRAMRole *bool
	// IdentityProvider is the inbound provider whose JWTs are accepted.
	IdentityProvider string
	// AllowedReturnURLs are the return URLs that OAuth2 consent may use. An
	// empty list is sent, nil is not.
	AllowedReturnURLs []string
	// SessionBindingEnabled binds OAuth2 consent to the user who asked. Keep
	// it on: see the package documentation.
	SessionBindingEnabled *bool
	// SourcePlatform and SourceAgentArn say where the agent comes from.
	SourcePlatform, SourceAgentArn string
}

// WorkloadIdentity is an agent's identity as the control plane describes it.
type WorkloadIdentity struct {
	Name                  string   `json:"WorkloadIdentityName"`
	Arn                   string   `json:"WorkloadIdentityArn"`
	Description           string   `json:"Description"`
	RoleArn               string   `json:"RoleArn"`
	IdentityProvider      string   `json:"IdentityProviderName"`
	AllowedReturnURLs     []string `json:"AllowedResourceOAuth2ReturnURLs"`
	SessionBindingEnabled bool     `json:"SessionBindingEnabled"`
	SourcePlatform        string   `json:"SourcePlatform"`
	SourceAgentArn        string   `json:"SourceAgentArn"`
	// CreateTime and UpdateTime are RFC 3339 texts in UTC.
	CreateTime string `json:"CreateTime"`
	UpdateTime string `json:"UpdateTime"`
}

// CreateWorkloadIdentity creates a workload identity. An existing name is
// [ErrAlreadyExists]. It is not repeated when an answer is lost.
func (c *Client) CreateWorkloadIdentity(ctx context.Context, req *CreateWorkloadIdentityRequest) (*WorkloadIdentity, error) {
	const op = "CreateWorkloadIdentity"
	params := acs.Params{"WorkloadIdentityName": req.Name}
	if req.AllowedReturnURLs != nil {
		params.Set("AllowedResourceOAuth2ReturnURLs", req.AllowedReturnURLs)
	}
	if req.CreateRAMRole != nil {
		params.Set("CreateRAMRole", *req.CreateRAMRole)
	}
	if req.SessionBindingEnabled != nil {
		params.Set("SessionBindingEnabled", *req.SessionBindingEnabled)
	}
	params.SetNonEmpty("Description", req.Description)
	params.SetNonEmpty("IdentityProviderName", req.IdentityProvider)
	params.SetNonEmpty("RoleArn", req.RoleArn)
	params.SetNonEmpty("SourcePlatform", req.SourcePlatform)
	params.SetNonEmpty("SourceAgentArn", req.SourceAgentArn)

	var out struct{ WorkloadIdentity WorkloadIdentity }
	meta, err := c.call(ctx, c.control, &acs.Request{Action: op, Version: controlVersion, Form: params}, nil, &out)
	if err != nil {
		return nil, err
	}
	if out.WorkloadIdentity.Name == "" {
		return nil, incomplete(op, "WorkloadIdentity", meta)
	}
	return &out.WorkloadIdentity, nil
}
