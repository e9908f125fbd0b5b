// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"

	"github.com/aliyun/credentials-go/credentials"
)

// AlibabaCredential makes a credential for the official Alibaba Cloud SDKs from
// a source of STS credentials. Each call of it asks the source, which keeps and
// renews them, for the caller in ctx: make one for each request or user, never
// one for all, since those SDKs pass no context.
func AlibabaCredential(ctx context.Context, src Source[STSCredential]) credentials.Credential {
	return &alibabaCredential{ctx, src}
}

type alibabaCredential struct {
	ctx context.Context // the interface has none
	src Source[STSCredential]
}

var _ credentials.Credential = (*alibabaCredential)(nil)

// GetCredential implements the interface of credentials-go.
func (a *alibabaCredential) GetCredential() (*credentials.CredentialModel, error) {
	cred, err := a.src.Credential(a.ctx)
	if err != nil {
		return nil, err
	}
	return &credentials.CredentialModel{
		AccessKeyId: &cred.AccessKeyID, AccessKeySecret: new(cred.AccessKeySecret.Reveal()), SecurityToken: new(cred.SecurityToken.Reveal()),
		Type: new("sts"), ProviderName: new("agent_identity"),
	}, nil
}

func (a *alibabaCredential) part(of func(*credentials.CredentialModel) *string) (*string, error) {
	m, err := a.GetCredential()
	if err != nil {
		return nil, err
	}
	return of(m), nil
}

// GetAccessKeyId implements the interface of credentials-go. Prefer
// GetCredential: only there do id, secret and token belong together for sure.
//
//lint:ignore ST1003 the spelling is the interface's
func (a *alibabaCredential) GetAccessKeyId() (*string, error) {
	return a.part(func(m *credentials.CredentialModel) *string { return m.AccessKeyId })
}

// GetAccessKeySecret implements the interface of credentials-go.
func (a *alibabaCredential) GetAccessKeySecret() (*string, error) {
	return a.part(func(m *credentials.CredentialModel) *string { return m.AccessKeySecret })
}

// GetSecurityToken implements the interface of credentials-go.
func (a *alibabaCredential) GetSecurityToken() (*string, error) {
	return a.part(func(m *credentials.CredentialModel) *string { return m.SecurityToken })
}

// GetBearerToken implements the interface of credentials-go; there is none.
func (*alibabaCredential) GetBearerToken() *string { return new("") }

// GetType implements the interface of credentials-go.
func (*alibabaCredential) GetType() *string { return new("sts") }
