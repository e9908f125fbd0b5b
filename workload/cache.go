// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
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
// context. Make one with [NewCacheKey]. Keys are comparable.
type CacheKey struct {
	kind     Kind
	provider uint64
	params   [16]byte // digest of provider and params
}

// NewCacheKey makes the key of a kind of credential, from a provider ("" where
// there is none) and everything else that the answer depends on.
func NewCacheKey(kind Kind, provider, params string) CacheKey {
	if kind < 0 || kind >= kinds {
		panic(fmt.Sprintf("workload: there is no kind %d of credentials", kind))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(provider), provider, params))
	return CacheKey{kind, providerID(provider), [16]byte(sum[:])}
}

// providerID stands for a provider's name in keys. Two names that have the same
// only share a ForgetProvider.
func providerID(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:])
}

// ownedKey is a CacheKey of one caller, in its kind's cache. It is small and
// plain memory: hashing and copying it is a good part of a hit's price.
type ownedKey struct {
	caller   identity.CallerKey
	owner    uint64
	provider uint64
	params   [16]byte
}

func owned(ctx context.Context, key CacheKey) ownedKey {
	caller, subject := identity.KeysFromContext(ctx)
	return ownedKey{*caller, ownerID(subject), key.provider, key.params}
}

// ownerID stands for a user, whose subject is given. It stays the same when their
// token is renewed, and is what Forget and the bounds go by. Two users who had
// the same would only share those.
func ownerID(subject *identity.CallerKey) uint64 {
	return binary.BigEndian.Uint64(subject[:])
}

// kept is what the caches hold.
type kept struct {
	value any
	// id tells this value from all others, and from are the ids of the lower
	// values that it was made with: a workload token, and the STS credentials
	// that signed.
	id   uint64
	from lineage
}

// lineage are the ids of what a load used, 0 where it used none.
type lineage struct{ token, signer uint64 }

// caches has one cache for each kind: their values live for different times.
type caches struct {
	of  [kinds]*tokencache.Cache[ownedKey, *kept]
	ids atomic.Uint64
}

func newCaches(maxEntries int) *caches {
	c := new(caches)
	for kind := range kinds {
		cfg := tokencache.Config[ownedKey]{
			MaxEntries: maxEntries,
			Owner:      func(k ownedKey) uint64 { return k.owner },
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
		c.of[kind] = tokencache.New[ownedKey, *kept](cfg)
	}
	return c
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
	if k := a.lookup(ctx, key); k != nil {
		return k.value.(V), nil
	}
	k, err := cached(ctx, a, key, load)
	if err != nil {
		var zero V
		return zero, err
	}
	return k.value.(V), nil
}

// lookup returns what is kept and fresh, or nil. Asking it first saves making a
// load that is not needed.
func (a *Agent) lookup(ctx context.Context, key CacheKey) *kept {
	k, _ := a.caches.of[key.kind].Lookup(owned(ctx, key))
	return k
}

func cached[V any](ctx context.Context, a *Agent, key CacheKey, load func(context.Context) (V, time.Time, error)) (*kept, error) {
	k, err := a.caches.of[key.kind].Get(ctx, owned(ctx, key), func(ctx context.Context) (*kept, time.Time, error) {
		k := &kept{id: a.caches.ids.Add(1)}
		v, expires, err := load(context.WithValue(ctx, lineageKey{}, &k.from))
		k.value = v
		return k, expires, err
	})
	if errors.Is(err, tokencache.ErrTimeout) && !errors.Is(err, identity.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
	return k, err
}

type lineageKey struct{}

// lineageOf finds where a load notes what it used; outside of a load it is
// nowhere.
func lineageOf(ctx context.Context) *lineage {
	if l, ok := ctx.Value(lineageKey{}).(*lineage); ok {
		return l
	}
	return new(lineage)
}

// Reject drops the credential that a keeps under key for the caller in ctx, if
// match accepts it. A newer one than the one that was rejected thus survives.
// What was made with the rejected one is renewed before its next use; if that
// fails, it is used until its end.
func Reject[V any](ctx context.Context, a *Agent, key CacheKey, match func(V) bool) {
	own := owned(ctx, key)
	var rejected uint64
	if !a.caches.of[key.kind].Drop(own, func(k *kept) bool {
		rejected = k.id
		return match(k.value.(V))
	}) {
		return
	}
	for kind := key.kind + 1; kind < kinds; kind++ { // only higher kinds are made of lower ones
		a.caches.of[kind].Expire(own, func(_ ownedKey, k *kept) bool {
			return k.from.token == rejected || k.from.signer == rejected
		})
	}
}

// Forget drops everything that the agent keeps for the user behind caller,
// whichever token they came with; for example when they sign out. What is being
// loaded for them is not kept either.
func (a *Agent) Forget(caller identity.Caller) {
	subject := caller.Subject()
	owner := ownerID(&subject)
	a.forget(func(k ownedKey) bool { return k.owner == owner })
}

// ForgetProvider drops every user's credentials of a credential provider.
func (a *Agent) ForgetProvider(provider string) {
	id := providerID(provider)
	a.forget(func(k ownedKey) bool { return k.provider == id })
}

// Purge drops everything that the agent keeps.
func (a *Agent) Purge() { a.forget(func(ownedKey) bool { return true }) }

// Epoch counts the calls of Forget, ForgetProvider and Purge. What takes longer
// than a load, such as a user's consent, must not be kept when another epoch has
// begun meanwhile.
func (a *Agent) Epoch() uint64 { return a.epoch.Load() }

func (a *Agent) forget(match func(ownedKey) bool) {
	a.epoch.Add(1)
	for _, c := range a.caches.of {
		c.Forget(match)
	}
}

// Close drops everything, ends the loads under way, and waits for them. Later
// calls fail with [ErrClosed]. It may be called twice.
func (a *Agent) Close() {
	a.closeOnce.Do(func() { close(a.closed) })
	for _, c := range a.caches.of {
		c.Close()
	}
}

// Done is closed when the agent is.
func (a *Agent) Done() <-chan struct{} { return a.closed }

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
	of := func(kind Kind) CacheStats { return CacheStats(a.caches.of[kind].Stats()) }
	return Stats{of(KindWorkloadToken), of(KindSTS), of(KindAPIKey), of(KindOAuth2)}
}
