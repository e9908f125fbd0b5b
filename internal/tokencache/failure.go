// SPDX-License-Identifier: Apache-2.0

package tokencache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = time.Second
	backoffMost  = time.Minute

	// maxRefused bounds the errors that one shard remembers.
	maxRefused = 1024
)

// temporary is an error that knows whether trying again may help.
type temporary interface {
	error
	Temporary() bool
}

// delayed is an error that knows how long to wait before trying again.
type delayed interface {
	error
	RetryDelay() time.Duration
}

// expected is an error that is no failure, but a third outcome, such as that a
// person has to be asked first. It is neither counted nor remembered.
type expected interface {
	error
	Expected()
}

func isExpected(err error) bool {
	_, ok := errors.AsType[expected](err)
	return ok
}

// failed notes a load that failed, under s.mu. A value that still lives is
// renewed later; without one, the error is remembered for a moment.
func (s *shard[K, V]) failed(key K, hash uint64, err error, now int64) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	delay := time.Duration(0)
	if d, ok := errors.AsType[delayed](err); ok {
		delay = d.RetryDelay()
	}
	if e := s.find(key, hash); e != nil && !s.dead(e, now) {
		e.failures++
		ceiling := min(backoffFirst<<min(e.failures-1, 10), backoffMost)
		e.retry = now + int64(max(rand.N(ceiling)+time.Millisecond, delay))
		// However long the backoff, the last stretch tries once more.
		if now < e.late && e.retry > e.late && delay == 0 {
			e.retry = e.late
		}
		return
	}
	t, ok := errors.AsType[temporary](err)
	if !ok {
		return
	}
	memory := time.Second + rand.N(4*time.Second)
	if t.Temporary() {
		memory = max(250*time.Millisecond+rand.N(750*time.Millisecond), min(delay, backoffMost))
	}
	if len(s.refused) >= maxRefused {
		for k, r := range s.refused {
			if now >= r.until {
				delete(s.refused, k)
			}
		}
		if len(s.refused) >= maxRefused {
			return
		}
	}
	s.refused[key] = refusal{err, now + int64(memory)}
}
