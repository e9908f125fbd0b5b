// SPDX-License-Identifier: Apache-2.0

package tokencache

import (
	"math"
	"math/rand/v2"
	"time"
)

// entry is one value. Only its place in the order of use, and when it is to be
// renewed, change.
type entry[K comparable, V any] struct {
	// What a hit looks at stands together. All times are by clock.now, but
	// wall, which is by clock.wall.
	key   K
	value V
	wall  int64 // expiry by the wall clock
	mono  int64 // expiry by the monotonic clock
	early int64 // from here on it is renewed
	used  int64 // when it was last moved to the front

	retry      int64 // not before this is a failed renewal tried again
	late       int64 // from here on callers wait for the renewal
	hash       uint64
	failures   int  // renewals that failed in a row
	dropped    bool // taken out of the cache
	prev, next *entry[K, V]
}

// due reports whether the value is to be renewed now.
func (e *entry[K, V]) due(now int64) bool { return now >= e.early && now >= e.retry }

func (c *Cache[K, V]) newEntry(key K, value V, expires time.Time) *entry[K, V] {
	now := time.Now()
	life := expires.Round(0).Sub(now.Round(0))
	mono := c.clock.at(now) + int64(life)
	e := &entry[K, V]{
		hash: c.hash(key), key: key, value: value, wall: c.clock.wallAt(expires), mono: mono,
		early: math.MaxInt64, late: math.MaxInt64, used: c.clock.at(now),
	}
	if c.cfg.Early == nil {
		return e
	}
	if window := min(c.cfg.Early(life), life); window > 0 {
		// Shortened at random, so that values that came together do not leave
		// together.
		window -= rand.N(window/4 + 1)
		e.early = mono - int64(window)
		e.late = max(e.early, mono-int64(min(time.Minute, life/10)))
	}
	return e
}

// dead reports whether either clock says that e has ended, under s.mu.
func (s *shard[K, V]) dead(e *entry[K, V], now int64) bool {
	return now >= e.mono || s.skew.wall(s.clock, now) >= e.wall
}

// find returns the entry of a key, under s.mu, or nil. The map goes by hash alone,
// and so is small: at many keys, waiting for memory is most of a hit's price.
// Of two keys with the same hash the later one replaces the other.
func (s *shard[K, V]) find(key K, hash uint64) *entry[K, V] {
	if e := s.entries[hash]; e != nil && e.key == key {
		return e
	}
	return nil
}

// hit counts a use of e and keeps the order of use, roughly: moving an entry
// more often than once a second buys nothing.
func (s *shard[K, V]) hit(e *entry[K, V], now int64) V {
	s.stats.Hits++
	if now-e.used > int64(time.Second) || s.limit < 64 {
		e.used = now
		s.recent.remove(e)
		s.recent.pushFront(e)
	}
	return e.value
}

// insert puts e in front, under s.mu, and makes room.
func (s *shard[K, V]) insert(e *entry[K, V], now int64) {
	if old := s.entries[e.hash]; old != nil {
		s.remove(old)
	}
	s.entries[e.hash] = e
	s.recent.pushFront(e)
	if s.owner != nil {
		owner := s.owner(e.key)
		s.owned[owner]++
		if s.owned[owner] > s.ownerLimit {
			s.evictOwned(owner)
		}
	}
	for len(s.entries) > s.limit {
		s.stats.Evicted++
		s.remove(s.recent.last)
	}
	// Dead values at the idle end leave as others come.
	for range 2 {
		if last := s.recent.last; last != nil && s.dead(last, now) {
			s.remove(last)
		}
	}
}

// evictOwned drops the least recently used value of an owner.
func (s *shard[K, V]) evictOwned(owner uint64) {
	for e := s.recent.last; e != nil; e = e.prev {
		if s.owner(e.key) == owner {
			s.stats.Evicted++
			s.remove(e)
			return
		}
	}
}

func (s *shard[K, V]) remove(e *entry[K, V]) {
	e.dropped = true
	s.recent.remove(e)
	delete(s.entries, e.hash)
	if s.owner != nil {
		owner := s.owner(e.key)
		if s.owned[owner]--; s.owned[owner] == 0 {
			delete(s.owned, owner)
		}
	}
}

// order is a list of entries, most recently used first. Unlike container/list
// it has no element beside the entry: one pointer less to follow on each hit.
type order[K comparable, V any] struct {
	first, last *entry[K, V]
}

func (o *order[K, V]) pushFront(e *entry[K, V]) {
	e.prev, e.next = nil, o.first
	if o.first != nil {
		o.first.prev = e
	} else {
		o.last = e
	}
	o.first = e
}

func (o *order[K, V]) remove(e *entry[K, V]) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		o.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		o.last = e.prev
	}
	e.prev, e.next = nil, nil
}
