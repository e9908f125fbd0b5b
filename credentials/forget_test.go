// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func TestGoal11Forget(t *testing.T) {
	agent, cloud := newAgent(t)
	cloud.AddAPIKeyProvider("other", identity.NewSecret("k"))
	one := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	other := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "other"})
	alice := identity.Caller{UserToken: cloud.IDToken("alice")}
	renewed := identity.Caller{UserToken: cloud.IDToken("alice")}
	bob := identity.Caller{UserToken: cloud.IDToken("bob")}
	use := func() {
		for _, c := range []identity.Caller{alice, renewed, bob} {
			for _, s := range []*credentials.APIKeySource{one, other} {
				_, err := s.Credential(identity.NewContext(t.Context(), c))
				require.NoError(t, err)
			}
		}
	}
	count := func(user string) int { return cloud.Count("GetResourceAPIKey", user) }
	use()
	use()
	require.Equal(t, []int{4, 2}, []int{count("alice"), count("bob")})

	agent.Forget(alice) // with whichever token they came
	use()
	require.Equal(t, []int{8, 2}, []int{count("alice"), count("bob")})
	require.Equal(t, 4, cloud.Count("GetWorkloadAccessTokenForJWT", "alice"))
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessTokenForJWT", "bob"))

	agent.ForgetProvider("other")
	use()
	require.Equal(t, []int{10, 3}, []int{count("alice"), count("bob")})
	agent.Purge()
	use()
	require.Equal(t, []int{14, 5}, []int{count("alice"), count("bob")})

	stats := agent.Stats()
	require.Equal(t, 19, stats.APIKey.Misses)
	require.Equal(t, 4+3+6, stats.APIKey.Forgotten)
	require.Positive(t, stats.APIKey.Hits)
	require.Zero(t, stats.APIKey.InFlight+stats.OAuth2.Misses)
	require.NotContains(t, fmt.Sprintf("%+v", stats), "alice")

	agent.Close()
	agent.Close()
	_, err := one.Credential(identity.NewContext(t.Context(), alice))
	require.ErrorIs(t, err, workload.ErrClosed)
}

// What a consent brings that was waited for while the user was forgotten is for
// those who waited, and kept for nobody.
func TestGoal11ForgetDuringConsent(t *testing.T) {
	a := newApp(t)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	src := credentials.NewOAuth2Source(a.agent, a.waiting())
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	auth := <-a.links
	a.agent.Forget(identity.Caller{UserToken: token})
	a.answer(t, auth.URL, "alice", identitytest.Allow, token)
	require.NoError(t, <-done)
	before := a.cloud.Count("GetResourceOAuth2Token")
	_, err := src.Credential(ctx)
	require.NoError(t, err)
	require.Equal(t, before+1, a.cloud.Count("GetResourceOAuth2Token"), "asked anew")
}

// Two sources of one provider share what is kept.
func TestSourcesShare(t *testing.T) {
	agent, cloud := newAgent(t)
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			s := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
			if _, err := s.Credential(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, cloud.Count("GetResourceAPIKey"))
}

// made says for whom and what a credential was made.
type made struct {
	owner    identity.CallerKey
	provider string
}

// A thousand users with hostile ids: each gets what was made for them. Each
// source hands out a credential that names the caller it was loaded for.
func TestGoal09Isolation(t *testing.T) {
	client, err := identity.New(identity.Config{})
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: "agent", MaxEntries: 3000})
	require.NoError(t, err)
	hostile := []string{":", "\x00", "a\x00", "jwt", "е", "e", " e", "a.b.c", "%", "/../", "admin", "Admin"}
	callers := make([]identity.Caller, 1000)
	for i := range callers {
		id := fmt.Sprint(hostile[i%len(hostile)], i/len(hostile)/2)
		if i%2 == 0 {
			callers[i] = identity.Caller{UserID: id}
		} else {
			callers[i] = identity.Caller{UserToken: identity.NewSecret(id)}
		}
	}
	operations := 1_000_000
	if testing.Short() {
		operations = 50_000
	}
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range operations / workers {
				n := (i*7919 + w*104729) % len(callers)
				provider := hostile[(i+w)%len(hostile)]
				key := workload.NewCacheKey(workload.KindAPIKey, provider, "")
				ctx := identity.NewContext(context.Background(), callers[n])
				got, err := workload.Cached(ctx, agent, key, func(ctx context.Context) (made, time.Time, error) {
					c, _ := identity.FromContext(ctx)
					return made{c.Key(), provider}, time.Now().Add(time.Duration(50+i%100) * time.Millisecond), nil
				})
				if err != nil || got.owner != callers[n].Key() || got.provider != provider {
					t.Errorf("caller %d got what was made for another: %v", n, err)
					return
				}
				switch i % 5000 {
				case 17:
					agent.Forget(callers[n])
				case 4017:
					agent.ForgetProvider(provider)
				}
			}
		})
	}
	wg.Wait()
}
