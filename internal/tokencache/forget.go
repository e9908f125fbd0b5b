// SPDX-License-Identifier: Apache-2.0

package tokencache

// Drop forgets the value under key if match accepts it, and reports whether
// it did. A newer value than the one the caller was served thus survives a
// late complaint.
func (c *Cache[K, V]) Drop(key K, match func(V) bool) bool {
	hash := c.hash(key)
	s := c.shard(key, hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refused, key)
	e := s.find(key, hash)
	if e == nil || !match(e.value) {
		return false
	}
	s.remove(e)
	return true
}

// Expire makes the values of key's owner that match accepts late: the next who
// asks waits for a renewal, and gets the old value only if that fails.
func (c *Cache[K, V]) Expire(key K, match func(K, V) bool) {
	s := c.shard(key, c.hash(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := c.clock.now()
	for _, e := range s.entries {
		if match(e.key, e.value) {
			e.early, e.late, e.retry = now, now, 0
		}
	}
}

// Forget drops every value whose key matches and keeps no result of a load
// for such a key that is under way: later callers load anew. It returns how
// many values it dropped.
func (c *Cache[K, V]) Forget(match func(K) bool) int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			if match(e.key) {
				s.remove(e)
				n++
				s.stats.Forgotten++
			}
		}
		for key, l := range s.loads {
			if match(key) {
				l.discard = true
				delete(s.loads, key)
			}
		}
		for key := range s.refused {
			if match(key) {
				delete(s.refused, key)
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Close drops everything, cancels the loads under way and waits for them.
// Those who wait, and later callers, get [ErrClosed]. It may be called twice.
func (c *Cache[K, V]) Close() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	c.end()
	c.Forget(func(K) bool { return true })
	c.loads.Wait()
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

// Stats counts what a cache did since it was made.
type Stats struct {
	Hits      int // served from the cache
	Misses    int // loads begun because nothing usable was kept
	Joined    int // waited for somebody else's load
	Refreshed int // renewals begun in the background
	Stale     int // old values served because their renewal failed
	Failed    int // loads that failed
	Refused   int // answered with an error that had just happened
	Evicted   int // dropped to keep a bound
	Forgotten int // dropped on request
	InFlight  int // loads under way now
}

// Add returns the sum of both.
func (s Stats) Add(t Stats) Stats {
	return Stats{
		s.Hits + t.Hits, s.Misses + t.Misses, s.Joined + t.Joined, s.Refreshed + t.Refreshed, s.Stale + t.Stale,
		s.Failed + t.Failed, s.Refused + t.Refused, s.Evicted + t.Evicted, s.Forgotten + t.Forgotten, s.InFlight + t.InFlight,
	}
}

// Stats returns a snapshot of the counters.
func (c *Cache[K, V]) Stats() Stats {
	var sum Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum = sum.Add(s.stats)
		s.mu.Unlock()
	}
	return sum
}
