// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/tokencache"
)

// Kind is a kind of credential that an [Agent] keeps.
type Kind int

// Kinds of credentials.
const (
	KindWorkloadToken Kind = iota
	KindSTS
	KindAPIKey
	KindOAuth2

	kinds
)

// CacheKey says what a credential is, beside whose it is: that comes from the
// context.
type CacheKey struct {
	Kind Kind
	// Provider is the credential provider, "" where there is none.
	Provider string
	// Params is a digest of everything else that the answer depends on.
	Params [32]byte
}

// ownedKey is a CacheKey of one caller. The subject stays the same when the
// caller's token is renewed; it is what Forget and the bounds go by.
type ownedKey struct {
	CacheKey
	caller, subject identity.CallerKey
}

func owned(ctx context.Context, key CacheKey) ownedKey {
	caller, _ := identity.FromContext(ctx)
	return ownedKey{key, caller.Key(), caller.Subject()}
}

// caches has one cache for each kind: their values live for different times.
type caches [kinds]*tokencache.Cache[ownedKey, any]

func newCaches(maxEntries int) *caches {
	var c caches
	seed := maphash.MakeSeed()
	for kind := range kinds {
		cfg := tokencache.Config[ownedKey]{
			MaxEntries: maxEntries,
			Owner:      func(k ownedKey) uint64 { return maphash.Comparable(seed, k.subject) },
		}
		switch kind {
		case KindSTS:
			cfg.Early = earlySTS
		case KindWorkloadToken, KindAPIKey:
			cfg.Early = tokencache.Quarter
		case KindOAuth2:
			// Short-lived, so that a revocation takes effect: not renewed
			// behind the user's back.
		}
		c[kind] = tokencache.New[ownedKey, any](cfg)
	}
	return &c
}

// earlySTS is when STS credentials are renewed: a quarter of their life before
// their end, at most 15 minutes, and at least one where their life allows it.
func earlySTS(life time.Duration) time.Duration {
	return min(max(min(15*time.Minute, life/4), time.Minute), life/2)
}

// Cached returns the credential that a keeps under key for the caller in ctx,
// or loads it. The load's second result is the credential's expiry; the zero
// time shares it with those who wait and keeps it for nobody else.
//
// One load runs for all who wait for the same credential of the same caller;
// its ctx has the values of the first one's, not its end, and a limit of its
// own. Each who waits obeys its own ctx. Shortly before its end a credential is
// renewed in the background. Sources in package credentials are made of this,
// and other sources can be.
//
// V must be the same type for all uses of one kind, provider and params.
func Cached[V any](ctx context.Context, a *Agent, key CacheKey, load func(context.Context) (V, time.Time, error)) (V, error) {
	cache, own := a.caches[key.Kind], owned(ctx, key)
	if v, ok := cache.Lookup(own); ok {
		return v.(V), nil
	}
	v, err := cache.Get(ctx, own, func(ctx context.Context) (any, time.Time, error) {
		return load(ctx)
	})
	if err != nil {
		var zero V
		return zero, err
	}
	return v.(V), nil
}

// Reject drops the credential that a keeps under key for the caller in ctx, if
// match accepts it. A newer one than the one that was rejected thus survives.
func Reject[V any](ctx context.Context, a *Agent, key CacheKey, match func(V) bool) {
	a.caches[key.Kind].Drop(owned(ctx, key), func(v any) bool { return match(v.(V)) })
}

// Forget drops everything that the agent keeps for the user behind caller,
// whichever token they came with; for example when they sign out. What is being
// loaded for them is not kept either.
func (a *Agent) Forget(caller identity.Caller) {
	subject := caller.Subject()
	a.forget(func(k ownedKey) bool { return k.subject == subject })
}

// ForgetProvider drops every user's credentials of a credential provider.
func (a *Agent) ForgetProvider(provider string) {
	a.forget(func(k ownedKey) bool { return k.Provider == provider })
}

// Purge drops everything that the agent keeps.
func (a *Agent) Purge() { a.forget(func(ownedKey) bool { return true }) }

func (a *Agent) forget(match func(ownedKey) bool) {
	for _, c := range a.caches {
		c.Forget(match)
	}
}

// Close drops everything, ends the loads under way, and waits for them. Later
// calls fail with [ErrClosed]. It may be called twice.
func (a *Agent) Close() {
	for _, c := range a.caches {
		c.Close()
	}
}

// ErrExpiredOnArrival reports a credential whose end had passed by the local
// clock when it arrived. Usually one of the two clocks is wrong.
var ErrExpiredOnArrival = tokencache.ErrExpiredOnArrival

// ErrClosed reports an agent that has been closed.
var ErrClosed = tokencache.ErrClosed

// CacheStats counts what was done with one kind of credential.
type CacheStats struct {
	Hits      int // served without a call
	Misses    int // calls begun because nothing usable was kept
	Joined    int // waited for somebody else's call
	Refreshed int // renewals begun in the background
	Stale     int // old credentials served because their renewal failed
	Failed    int // calls that failed
	Refused   int // answered with an error that had just happened
	Evicted   int // dropped to keep a bound
	Forgotten int // dropped on request
	InFlight  int // calls under way now
}

// Stats are counters by kind of credential, never by user.
type Stats struct {
	WorkloadToken, STS, APIKey, OAuth2 CacheStats
}

// Stats returns a snapshot of the counters.
func (a *Agent) Stats() Stats {
	of := func(kind Kind) CacheStats { return CacheStats(a.caches[kind].Stats()) }
	return Stats{of(KindWorkloadToken), of(KindSTS), of(KindAPIKey), of(KindOAuth2)}
}
