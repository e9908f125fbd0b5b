// SPDX-License-Identifier: Apache-2.0

// Package oss reads objects of Object Storage Service for tools, with the STS
// credentials that an agent has on behalf of a user, and hands those
// credentials to clients of aliyun-oss-go-sdk.
package oss

import (
	"context"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// CredentialsProvider makes a credentials provider for an OSS client from a
// source of STS credentials:
//
//	client, err := oss.New(endpoint, "", "", oss.SetCredentialsProvider(CredentialsProvider(ctx, src)))
//
// Each request of the client asks the source, which keeps and renews the
// credentials, for the caller in ctx, and fails with the source's error. That
// SDK passes no context: make a client for each request or user, never one for
// all.
func CredentialsProvider(ctx context.Context, src credentials.Source[credentials.STSCredential]) oss.CredentialsProviderE {
	return provider{ctx, src}
}

type provider struct {
	ctx context.Context // the interface has none
	src credentials.Source[credentials.STSCredential]
}

// GetCredentialsE implements [oss.CredentialsProviderE].
func (p provider) GetCredentialsE() (oss.Credentials, error) {
	cred, err := p.src.Credential(p.ctx)
	if err != nil {
		return nil, err
	}
	return snapshot{cred}, nil
}

// GetCredentials implements [oss.CredentialsProvider], which has no room for an
// error: its credentials are empty then, and the service refuses them. The SDK
// itself calls GetCredentialsE.
func (p provider) GetCredentials() oss.Credentials {
	cred, err := p.GetCredentialsE()
	if err != nil {
		return snapshot{}
	}
	return cred
}

// snapshot is one set of credentials: id, secret and token belong together.
type snapshot struct{ cred credentials.STSCredential }

func (s snapshot) GetAccessKeyID() string     { return s.cred.AccessKeyID }
func (s snapshot) GetAccessKeySecret() string { return s.cred.AccessKeySecret.Reveal() }
func (s snapshot) GetSecurityToken() string   { return s.cred.SecurityToken.Reveal() }
