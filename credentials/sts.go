// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// STSCredential is a set of temporary Alibaba Cloud credentials.
type STSCredential = identity.STSCredentials

// STSConfig configures an [STSSource]. The zero value is the whole role of the
// workload identity for one hour.
type STSConfig struct {
	// Policy is a RAM policy document that narrows the role.
	Policy string
	// Duration is how long the credentials live. If zero, one hour.
	Duration time.Duration
}

// STSSource supplies STS credentials of the workload identity's RAM role, on
// behalf of the caller. They are kept, for each caller, until shortly before
// they end. It is safe for concurrent use.
type STSSource struct {
	agent *workload.Agent
	opts  workload.SessionOptions
}

var (
	_ Source[STSCredential]   = (*STSSource)(nil)
	_ Rejecter[STSCredential] = (*STSSource)(nil)
)

// NewSTSSource makes a source.
func NewSTSSource(agent *workload.Agent, cfg STSConfig) *STSSource {
	return &STSSource{agent: agent, opts: workload.SessionOptions{Policy: cfg.Policy, Duration: cfg.Duration}}
}

// Credential returns STS credentials for the caller in ctx.
func (s *STSSource) Credential(ctx context.Context) (STSCredential, error) {
	return s.agent.Session(ctx, s.opts)
}

// Reject drops cred for the caller in ctx, if it is still the one kept.
func (s *STSSource) Reject(ctx context.Context, cred STSCredential) {
	s.agent.RejectSession(ctx, s.opts, cred)
}

// WorkloadToken is a workload access token.
type WorkloadToken struct {
	Token identity.Secret
}

// WorkloadTokenSource supplies workload access tokens, for gateways that take
// them as proof of agent and user. It is safe for concurrent use.
type WorkloadTokenSource struct {
	agent *workload.Agent
}

var (
	_ Source[WorkloadToken]   = (*WorkloadTokenSource)(nil)
	_ Rejecter[WorkloadToken] = (*WorkloadTokenSource)(nil)
)

// NewWorkloadTokenSource makes a source.
func NewWorkloadTokenSource(agent *workload.Agent) *WorkloadTokenSource {
	return &WorkloadTokenSource{agent: agent}
}

// Credential returns a workload access token for the caller in ctx.
func (s *WorkloadTokenSource) Credential(ctx context.Context) (WorkloadToken, error) {
	token, err := s.agent.Token(ctx)
	return WorkloadToken{token}, err
}

// Reject drops token for the caller in ctx, if it is still the one kept.
func (s *WorkloadTokenSource) Reject(ctx context.Context, token WorkloadToken) {
	s.agent.RejectToken(ctx, token.Token)
}
