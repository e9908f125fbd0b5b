// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

const (
	defaultAttempts = 3
	backoffBase     = 100 * time.Millisecond
	backoffCap      = 5 * time.Second
	// A service that asks for more patience than this gets its error passed
	// on at once: the caller can plan a longer wait better than we can.
	longestWait = 20 * time.Second
	// A throttled call was not acted on, and its turn comes: it is tried more
	// often than others, within this time.
	throttledAttempts = 10
	throttledFor      = 4 * time.Second
)

// retryable reports whether a failed attempt may be made again: always where
// the service did not act on it, else only for repeatable calls.
func retryable(err error, repeatable bool) bool {
	if apiErr, ok := errors.AsType[*Error](err); ok {
		if apiErr.Throttled() {
			return true
		}
		return repeatable && apiErr.StatusCode >= 500
	}
	if transportErr, ok := errors.AsType[*TransportError](err); ok {
		op, ok := errors.AsType[*net.OpError](transportErr.Err)
		neverSent := ok && op.Op == "dial"
		return neverSent || repeatable
	}
	return false
}

// wait is the pause before attempt n (2, 3, …): what the service asked for,
// else exponential backoff with full jitter. ok is false when waiting makes
// no sense.
func wait(err error, n int) (d time.Duration, ok bool) {
	if apiErr, ok := errors.AsType[*Error](err); ok && apiErr.RetryAfter > 0 {
		return apiErr.RetryAfter, apiErr.RetryAfter <= longestWait
	}
	ceiling := min(backoffBase<<(n-2), backoffCap)
	return rand.N(ceiling) + time.Millisecond, true
}

// sleep waits for d or until ctx ends, in which case it reports false. It
// does not begin a wait that ctx's deadline would cut off.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
