// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"fmt"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// DefaultAPIKeyLife is how long an API key is kept; the service returns no
// expiry.
const DefaultAPIKeyLife = 5 * time.Minute

// APIKey is an API key from the token vault.
type APIKey struct {
	Key      identity.Secret
	Provider string // the credential provider it comes from
}

// APIKeyConfig configures an [APIKeySource].
type APIKeyConfig struct {
	// Provider is the name of the API key credential provider. Required.
	Provider string
	// Life is how long a key is kept. If nil, [DefaultAPIKeyLife]; zero shares
	// a call among those who wait and keeps nothing.
	Life *time.Duration
}

// APIKeySource supplies API keys. It is safe for concurrent use.
type APIKeySource struct {
	agent    *workload.Agent
	provider string
	life     time.Duration
	key      workload.CacheKey
	loader   func(context.Context) (APIKey, time.Time, error) // load, bound once
}

var (
	_ Source[APIKey]   = (*APIKeySource)(nil)
	_ Rejecter[APIKey] = (*APIKeySource)(nil)
)

// NewAPIKeySource makes a source. A missing provider name is reported by each
// use.
func NewAPIKeySource(agent *workload.Agent, cfg APIKeyConfig) *APIKeySource {
	s := &APIKeySource{
		agent: agent, provider: cfg.Provider, life: DefaultAPIKeyLife,
		key: workload.NewCacheKey(workload.KindAPIKey, cfg.Provider, ""),
	}
	if cfg.Life != nil {
		s.life = *cfg.Life
	}
	s.loader = s.load
	return s
}

// Credential returns the API key for the caller in ctx.
func (s *APIKeySource) Credential(ctx context.Context) (APIKey, error) {
	if s.provider == "" {
		return APIKey{}, errNoProvider("APIKeyConfig")
	}
	key, err := workload.Cached(ctx, s.agent, s.key, s.loader)
	if err != nil {
		return APIKey{}, wrap(s.provider, err)
	}
	return key, nil
}

// Reject drops key for the caller in ctx, if it is still the one kept.
func (s *APIKeySource) Reject(ctx context.Context, key APIKey) {
	workload.Reject(ctx, s.agent, s.key, func(kept APIKey) bool { return kept.Key.Equal(key.Key) })
}

func (s *APIKeySource) load(ctx context.Context) (APIKey, time.Time, error) {
	key := APIKey{Provider: s.provider}
	err := s.agent.Do(ctx, func(token identity.Secret, signer *identity.STSCredentials) (err error) {
		key.Key, err = s.agent.Client().GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{
			WorkloadAccessToken: token, Provider: s.provider, Signer: signer,
		})
		return err
	})
	return key, expiry(ctx, s.life, key.Key), err
}

// expiry is when a credential of unknown expiry is to be dropped: its own end,
// if it is a JWT, and the end of the user's token may only shorten its life.
// The zero time keeps it for nobody.
func expiry(ctx context.Context, life time.Duration, secret identity.Secret) time.Time {
	if life <= 0 {
		return time.Time{}
	}
	now := time.Now()
	expires := now.Add(life)
	if end := identity.JWTExpiry(secret); !end.IsZero() && end.Before(expires) {
		expires = end
	}
	caller, _ := identity.FromContext(ctx)
	if end := caller.TokenExpiry(); !end.IsZero() && end.Before(expires) {
		if !end.After(now) {
			return time.Time{} // the service took the user's token all the same
		}
		expires = end
	}
	return expires
}

func errNoProvider(config string) error {
	return fmt.Errorf("credentials: %s.Provider is required: the name of the credential provider", config)
}

// wrap names the provider in an error. A ctx error stays recognisable.
func wrap(provider string, err error) error {
	return fmt.Errorf("credentials: provider %q: %w", provider, err)
}
