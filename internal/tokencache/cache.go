// SPDX-License-Identifier: Apache-2.0

// Package tokencache is the credential cache behind workload, credentials and
// the base credentials of identity: many keys, one load for each at a time.
//
// It knows nothing of what it keeps. A load runs once for all who wait for
// its key; each of them obeys its own ctx, and the load is cancelled only when
// the last one has gone. A value is served until its expiry by the wall clock
// or by the monotonic one, whichever comes first. The cache is bounded, has no
// goroutine of its own and writes nothing to disk.
package tokencache

import (
	"container/list"
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

// Config configures a [Cache]. The zero value is right for most.
type Config struct {
	// MaxEntries bounds the values kept; the least recently used go first.
	// If zero, 10,000.
	MaxEntries int
	// MaxLoads bounds the loads in flight over all keys. If zero, 32.
	MaxLoads int
	// LoadTimeout limits one load, counted from when it got its slot. If
	// zero, 15 seconds.
	LoadTimeout time.Duration
}

const shardCount = 32

// Cache keeps values of type V by comparable key. It is safe for concurrent
// use; make one with [New].
type Cache[K comparable, V any] struct {
	seed    maphash.Seed
	shards  []shard[K, V]
	slots   chan struct{}
	timeout time.Duration
}

type shard[K comparable, V any] struct {
	limit int

	mu      sync.Mutex // guards the rest
	entries map[K]*list.Element
	recent  list.List // of *entry[K, V], most recently used first
	loads   map[K]*call[V]
}

// entry is immutable once it is in a shard.
type entry[K comparable, V any] struct {
	key   K
	value V
	wall  time.Time // expiry by the wall clock
	mono  time.Time // expiry by the monotonic clock
}

func (e *entry[K, V]) dead(now time.Time) bool {
	return !now.Before(e.mono) || !now.Round(0).Before(e.wall)
}

// call is one load that others may join.
type call[V any] struct {
	done   chan struct{} // closed when value and err are set
	cancel context.CancelFunc

	waiters int  // guarded by the shard's mutex
	discard bool // guarded by the shard's mutex: do not keep the result

	value V
	err   error
}

// New makes an empty cache.
func New[K comparable, V any](cfg Config) *Cache[K, V] {
	if cfg.MaxEntries <= 0 {
		cfg.MaxEntries = 10_000
	}
	if cfg.MaxLoads <= 0 {
		cfg.MaxLoads = 32
	}
	if cfg.LoadTimeout <= 0 {
		cfg.LoadTimeout = 15 * time.Second
	}
	n := shardCount
	if cfg.MaxEntries < 64*shardCount {
		n = 1 // a small cache keeps its order and its bound exactly
	}
	c := &Cache[K, V]{
		seed:    maphash.MakeSeed(),
		shards:  make([]shard[K, V], n),
		slots:   make(chan struct{}, cfg.MaxLoads),
		timeout: cfg.LoadTimeout,
	}
	for i := range c.shards {
		c.shards[i].limit = cfg.MaxEntries / n
		c.shards[i].entries = make(map[K]*list.Element)
		c.shards[i].loads = make(map[K]*call[V])
	}
	return c
}

func (c *Cache[K, V]) shard(key K) *shard[K, V] {
	if len(c.shards) == 1 {
		return &c.shards[0]
	}
	return &c.shards[maphash.Comparable(c.seed, key)%uint64(len(c.shards))]
}

// Get returns the value kept under key, or loads it. The load's second result
// is the value's expiry; the zero time shares the value with those who wait
// and keeps it for nobody else.
//
// The load's ctx has the values of the ctx of the caller that began it, not
// its end. A caller whose own ctx ends gets that ctx's error. Errors are
// shared by all who wait and never kept.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load func(context.Context) (V, time.Time, error)) (V, error) {
	s := c.shard(key)
	s.mu.Lock()
	if el, ok := s.entries[key]; ok {
		e := el.Value.(*entry[K, V])
		if !e.dead(time.Now()) {
			s.recent.MoveToFront(el)
			s.mu.Unlock()
			return e.value, nil
		}
		s.remove(el)
	}
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		var zero V
		return zero, err
	}
	l, joined := s.loads[key]
	if !joined {
		loadCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l = &call[V]{done: make(chan struct{}), cancel: cancel}
		s.loads[key] = l
		go c.run(loadCtx, s, key, l, load)
	}
	l.waiters++
	s.mu.Unlock()

	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		s.leave(key, l)
		var zero V
		return zero, ctx.Err()
	}
}

// leave takes one waiter off l and cancels it when nobody is left.
func (s *shard[K, V]) leave(key K, l *call[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.waiters--
	if l.waiters == 0 {
		l.cancel()
		if s.loads[key] == l {
			delete(s.loads, key) // who comes now starts anew
		}
	}
}

func (c *Cache[K, V]) run(ctx context.Context, s *shard[K, V], key K, l *call[V], load func(context.Context) (V, time.Time, error)) {
	defer l.cancel()
	expires := c.load(ctx, l, load)
	now := time.Now()
	kept := l.err == nil && !expires.IsZero()
	if kept && !now.Round(0).Before(expires.Round(0)) {
		var zero V
		l.value, kept = zero, false
		l.err = fmt.Errorf("%w: its expiry is %s, the local clock says %s: check both clocks",
			ErrExpiredOnArrival, expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	s.mu.Lock()
	if s.loads[key] == l {
		delete(s.loads, key)
	}
	if kept && !l.discard && ctx.Err() == nil {
		s.insert(&entry[K, V]{key: key, value: l.value, wall: expires.Round(0), mono: now.Add(expires.Sub(now.Round(0)))}, now)
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
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	l.value, expires, l.err = load(limited)
	if l.err != nil && limited.Err() != nil && ctx.Err() == nil {
		// Not the waiters' own deadlines, and so not context.DeadlineExceeded.
		l.err = fmt.Errorf("%w: nothing within %s", ErrTimeout, c.timeout)
	}
	return expires
}

// insert puts e in front, under s.mu, and makes room.
func (s *shard[K, V]) insert(e *entry[K, V], now time.Time) {
	if old, ok := s.entries[e.key]; ok {
		s.remove(old)
	}
	s.entries[e.key] = s.recent.PushFront(e)
	for len(s.entries) > s.limit {
		s.remove(s.recent.Back())
	}
	// Dead values at the idle end leave as others come.
	for range 2 {
		last := s.recent.Back()
		if last == nil || !last.Value.(*entry[K, V]).dead(now) {
			break
		}
		s.remove(last)
	}
}

func (s *shard[K, V]) remove(el *list.Element) {
	s.recent.Remove(el)
	delete(s.entries, el.Value.(*entry[K, V]).key)
}

// Drop forgets the value under key if match accepts it, and reports whether
// it did. A newer value than the one the caller was served thus survives a
// late complaint.
func (c *Cache[K, V]) Drop(key K, match func(V) bool) bool {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	el, ok := s.entries[key]
	if !ok || !match(el.Value.(*entry[K, V]).value) {
		return false
	}
	s.remove(el)
	return true
}

// Forget drops every value whose key matches and keeps no result of a load
// for such a key that is under way. It returns how many values it dropped.
func (c *Cache[K, V]) Forget(match func(K) bool) int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for key, el := range s.entries {
			if match(key) {
				s.remove(el)
				n++
			}
		}
		for key, l := range s.loads {
			if match(key) {
				l.discard = true
				delete(s.loads, key) // later callers load anew
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Len is the number of values kept, dead ones that nobody asked for included.
func (c *Cache[K, V]) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}
