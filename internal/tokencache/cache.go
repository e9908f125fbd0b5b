// SPDX-License-Identifier: Apache-2.0

// Package tokencache is the credential cache behind workload, credentials and
// the base credentials of identity: many keys, one load for each at a time.
//
// It knows nothing of what it keeps. A load runs once for all who wait for
// its key; each of them obeys its own ctx, and the load is cancelled only when
// the last one has gone. A value is served until its expiry by the wall clock
// or by the monotonic one, whichever comes first.
//
// A value's life has three stretches. While it is fresh, it is served. Early
// (shortly before its end), it is served, and the first who comes renews it in
// the background. Late (in its last minute at most), callers wait for the
// renewal, and still get the old value if that fails or takes long. A renewal that failed is
// tried again with backoff.
//
// The cache is bounded, in all and for each owner, has no goroutine of its own
// and writes nothing to disk.
package tokencache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"sync"
	"time"
)

// ErrExpiredOnArrival reports a load whose value was dead when it came.
// Usually one of the two clocks is wrong.
var ErrExpiredOnArrival = errors.New("credential had expired when it arrived")

// ErrTimeout reports a load that took longer than Config.LoadTimeout.
var ErrTimeout = errors.New("fetching the credential took too long")

// ErrClosed reports a cache that has been closed.
var ErrClosed = errors.New("the credential cache is closed")

// Config configures a [Cache]. The zero value is right for most.
type Config[K comparable] struct {
	// MaxEntries bounds the values kept; the least recently used go first.
	// If zero, 10,000.
	MaxEntries int
	// Owner tells whom a key belongs to, by a hash. If nil, keys have no
	// owners.
	Owner func(K) uint64
	// MaxPerOwner bounds the values of one owner, so that one cannot push out
	// the others'. If zero, 64.
	MaxPerOwner int
	// MaxLoads bounds the loads in flight over all keys. If zero, 32.
	MaxLoads int
	// LoadTimeout limits one load, counted from when it got its slot. If
	// zero, 15 seconds.
	LoadTimeout time.Duration
	// Early is how long before its end a value of the given life is renewed
	// in the background. If nil or zero, it is not.
	Early func(life time.Duration) time.Duration
}

// Quarter is an early window of a quarter of a value's life.
func Quarter(life time.Duration) time.Duration { return life / 4 }

const shardCount = 32 // a power of two

// latePatience is how long a caller who has a value that still lives waits for
// its renewal.
const latePatience = 2 * time.Second

// Cache keeps values of type V by comparable key. It is safe for concurrent
// use; make one with [New].
type Cache[K comparable, V any] struct {
	cfg    Config[K]
	clock  clock
	seed   maphash.Seed
	shards []shard[K, V]
	slots  chan struct{}

	closing context.Context // ends with Close
	end     context.CancelFunc
	loads   sync.WaitGroup
}

type shard[K comparable, V any] struct {
	limit, ownerLimit int
	owner             func(K) uint64
	clock             *clock

	mu      sync.Mutex // guards the rest
	closed  bool
	entries map[uint64]*entry[K, V] // by the key's hash, see find
	recent  order[K, V]
	owned   map[uint64]int
	loads   map[K]*call[V]
	refused map[K]refusal
	stats   Stats
	skew    skew
}

// call is one load that others may join.
type call[V any] struct {
	done       chan struct{} // closed when value and err are set
	cancel     context.CancelFunc
	background bool // goes on without waiters

	waiters int  // guarded by the shard's mutex
	discard bool // guarded by the shard's mutex: do not keep the result

	value V
	err   error
}

// refusal is the short memory of an error, so that a queue of callers does not
// repeat a call that has just failed.
type refusal struct {
	err   error
	until int64 // by clock.now
}

// New makes an empty cache.
func New[K comparable, V any](cfg Config[K]) *Cache[K, V] {
	setDefault(&cfg.MaxEntries, 10_000)
	setDefault(&cfg.MaxPerOwner, 64)
	setDefault(&cfg.MaxLoads, 32)
	setDefault(&cfg.LoadTimeout, 15*time.Second)
	n := shardCount
	if cfg.MaxEntries < 64*shardCount {
		n = 1 // a small cache keeps its order and its bound exactly
	}
	c := &Cache[K, V]{
		cfg: cfg, clock: newClock(), seed: maphash.MakeSeed(),
		shards: make([]shard[K, V], n), slots: make(chan struct{}, cfg.MaxLoads),
	}
	c.closing, c.end = context.WithCancel(context.Background())
	for i := range c.shards {
		s := &c.shards[i]
		s.limit, s.ownerLimit, s.owner, s.clock = cfg.MaxEntries/n, cfg.MaxPerOwner, cfg.Owner, &c.clock
		s.entries = make(map[uint64]*entry[K, V])
		s.owned = make(map[uint64]int)
		s.loads = make(map[K]*call[V])
		s.refused = make(map[K]refusal)
	}
	return c
}

func setDefault[T ~int | ~int64](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// hash stands for a key in the map of its shard.
func (c *Cache[K, V]) hash(key K) uint64 { return maphash.Comparable(c.seed, key) }

// shard finds the shard of a key, whose hash is given. An owner's keys share
// one, so that its bound is exact.
func (c *Cache[K, V]) shard(key K, hash uint64) *shard[K, V] {
	switch {
	case len(c.shards) == 1:
		return &c.shards[0]
	case c.cfg.Owner != nil:
		return &c.shards[c.cfg.Owner(key)%shardCount]
	}
	return &c.shards[hash%shardCount]
}

// Lookup returns the value kept under key if it is fresh: alive, and not to be
// renewed. It is the part of [Cache.Get] that needs no load.
func (c *Cache[K, V]) Lookup(key K) (V, bool) {
	now := c.clock.now()
	hash := c.hash(key)
	s := c.shard(key, hash)
	s.mu.Lock()
	if e := s.find(key, hash); e != nil && !s.closed && !s.dead(e, now) && !e.due(now) {
		value := s.hit(e, now)
		s.mu.Unlock()
		return value, true
	}
	s.mu.Unlock()
	var zero V
	return zero, false
}

// Get returns the value kept under key, or loads it. The load's second result
// is the value's expiry; the zero time shares the value with those who wait
// and keeps it for nobody else.
//
// The load's ctx has the values of the ctx of the caller that began it, not
// its end. A caller whose own ctx ends gets that ctx's error. Other errors are
// shared by all who wait. One that knows whether it is temporary (by a method
// Temporary() bool) is remembered for a moment: up to a second if it is, up to
// five if it is not.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load func(context.Context) (V, time.Time, error)) (V, error) {
	var zero V
	now := c.clock.now()
	hash := c.hash(key)
	s := c.shard(key, hash)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return zero, ErrClosed
	}
	var old *entry[K, V] // alive, but late
	if e := s.find(key, hash); e != nil {
		switch {
		case s.dead(e, now):
			s.remove(e)
		case !e.due(now):
			value := s.hit(e, now)
			s.mu.Unlock()
			return value, nil
		case now < e.late:
			if s.loads[key] == nil {
				s.stats.Refreshed++
				c.start(ctx, s, key, load, true)
			}
			value := s.hit(e, now)
			s.mu.Unlock()
			return value, nil
		default:
			old = e
		}
	}
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return zero, err
	}
	l := s.loads[key]
	if l == nil {
		if r, ok := s.refused[key]; ok && old == nil {
			if now < r.until {
				s.stats.Refused++
				s.mu.Unlock()
				return zero, r.err
			}
			delete(s.refused, key)
		}
		if old != nil {
			s.stats.Refreshed++
		} else {
			s.stats.Misses++
		}
		l = c.start(ctx, s, key, load, old != nil)
	} else {
		s.stats.Joined++
	}
	l.waiters++
	s.mu.Unlock()

	var patience <-chan time.Time // who has a value does not wait for ever
	if old != nil {
		timer := time.NewTimer(latePatience)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-l.done:
		if l.err != nil && s.stale(old) {
			return old.value, nil
		}
		return l.value, l.err
	case <-patience:
		if s.stale(old) {
			s.leave(key, l)
			return old.value, nil
		}
		select { // it has ended meanwhile
		case <-l.done:
			return l.value, l.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	s.leave(key, l)
	return zero, ctx.Err()
}

// stale reports whether an old value, if there is one, can still be served
// although its renewal did not come, and counts it.
func (s *shard[K, V]) stale(old *entry[K, V]) bool {
	if old == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old.dropped || s.dead(old, s.clock.now()) {
		return false
	}
	s.stats.Stale++
	return true
}

// start begins a load, under s.mu.
func (c *Cache[K, V]) start(ctx context.Context, s *shard[K, V], key K, load func(context.Context) (V, time.Time, error), background bool) *call[V] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &call[V]{done: make(chan struct{}), cancel: cancel, background: background}
	s.loads[key] = l
	s.stats.InFlight++
	c.loads.Add(1)
	go c.run(ctx, s, key, l, load)
	return l
}

// leave takes one waiter off l and cancels it when nobody is left.
func (s *shard[K, V]) leave(key K, l *call[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.waiters--
	if l.waiters == 0 && !l.background {
		l.cancel()
		if s.loads[key] == l {
			delete(s.loads, key) // who comes now starts anew
		}
	}
}

func (c *Cache[K, V]) run(ctx context.Context, s *shard[K, V], key K, l *call[V], load func(context.Context) (V, time.Time, error)) {
	defer c.loads.Done()
	defer l.cancel()
	defer context.AfterFunc(c.closing, l.cancel)()
	expires := c.load(ctx, l, load)
	wall := time.Now().Round(0)
	kept := l.err == nil && !expires.IsZero()
	if kept && !wall.Before(expires.Round(0)) {
		var zero V
		l.value, kept = zero, false
		l.err = fmt.Errorf("%w: its expiry is %s, the local clock says %s: check both clocks",
			ErrExpiredOnArrival, expires.UTC().Format(time.RFC3339), wall.UTC().Format(time.RFC3339))
	}
	if l.err != nil && c.closing.Err() != nil {
		l.err = ErrClosed
	}
	s.mu.Lock()
	now := c.clock.now()
	s.stats.InFlight--
	if s.loads[key] == l {
		delete(s.loads, key)
	}
	switch {
	case l.discard || ctx.Err() != nil || s.closed:
	case kept:
		delete(s.refused, key)
		s.insert(c.newEntry(key, l.value, expires), now)
	case l.err != nil && !isExpected(l.err):
		s.stats.Failed++
		s.failed(key, c.hash(key), l.err, now)
	}
	s.mu.Unlock()
	close(l.done)
}

func (c *Cache[K, V]) load(ctx context.Context, l *call[V], load func(context.Context) (V, time.Time, error)) (expires time.Time) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		l.err = ctx.Err()
		return time.Time{}
	}
	defer func() { <-c.slots }()
	defer func() {
		if p := recover(); p != nil {
			// Not the panic's value: it may quote a secret.
			l.err = fmt.Errorf("tokencache: load panicked with a %T at\n%s", p, debug.Stack())
		}
	}()
	limited, cancel := context.WithTimeout(ctx, c.cfg.LoadTimeout)
	defer cancel()
	l.value, expires, l.err = load(limited)
	if l.err != nil && limited.Err() != nil && ctx.Err() == nil {
		// Not the waiters' own deadlines, and so not context.DeadlineExceeded.
		l.err = fmt.Errorf("%w: nothing within %s", ErrTimeout, c.cfg.LoadTimeout)
	}
	return expires
}
