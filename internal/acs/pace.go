// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// After a throttled answer, calls go on at this share of what the service
	// accepted in the second before, and a little faster after each success.
	paceBack   = 0.9
	paceFaster = 0.01 // calls per second, for each success: one percent in a second
	paceLeast  = 2    // calls per second

	// holdFirst is how long calls pause where a throttled answer does not say,
	// doubled while answers stay so; holdMost bounds that and what answers say.
	holdFirst = 100 * time.Millisecond
	holdMost  = 2 * time.Second

	// paceQuiet without a throttled answer ends the pacing.
	paceQuiet = 30 * time.Second
)

// pacers has a pacer for each operation: services limit most of them apart. The
// zero value is ready to use.
type pacers struct {
	mu sync.RWMutex
	by map[string]*pacer // guarded by mu
}

func (ps *pacers) of(action string) *pacer {
	ps.mu.RLock()
	p := ps.by[action]
	ps.mu.RUnlock()
	if p != nil {
		return p
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p = ps.by[action]; p == nil {
		if ps.by == nil {
			ps.by = make(map[string]*pacer)
		}
		p = new(pacer)
		ps.by[action] = p
	}
	return p
}

// pacer keeps the calls of one operation just under the rate that the service
// accepts, from the first throttled answer on until there have been none for a
// while. Without it, many callers who wake at once would spend their attempts
// on being refused. The zero value lets everything pass, and it is safe for
// concurrent use.
type pacer struct {
	mu        sync.Mutex // guards the rest
	rate      float64    // calls per second; 0: no limit
	next      time.Time  // when the next call may begin
	throttled time.Time  // when the service last refused a call for its rate
	inARow    int        // refusals without a success between

	second        time.Time // begin of the second that is counted
	count, count0 float64   // accepted calls in it, and in the one before
}

// wait waits for the call's turn. It fails at once if that would be after the
// end of ctx.
func (p *pacer) wait(ctx context.Context, op string) error {
	p.mu.Lock()
	now := time.Now()
	if p.rate == 0 || now.Sub(p.throttled) > paceQuiet {
		p.rate = 0
		p.mu.Unlock()
		return nil
	}
	turn := now
	if p.next.After(now) {
		turn = p.next
	}
	pause := turn.Sub(now)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(turn) {
		p.mu.Unlock()
		return &Error{
			Op: op, StatusCode: 429, Code: "Throttling.HeldBack", RetryAfter: pause,
			Message: fmt.Sprintf("not sent: the service has throttled earlier calls, and this one's turn would come after %s", pause.Round(time.Millisecond)),
		}
	}
	p.next = turn.Add(time.Duration(float64(time.Second) / p.rate))
	p.mu.Unlock()
	if pause > 0 && !sleep(ctx, pause) {
		return ctx.Err()
	}
	return nil
}

// accepted notes a call that was not refused for its rate.
func (p *pacer) accepted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(time.Now())
	p.count++
	p.inARow = 0
	if p.rate > 0 {
		p.rate += paceFaster
	}
}

// refused notes a call that was refused for its rate, and what the answer asked
// to wait.
func (p *pacer) refused(retryAfter time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.turn(now)
	hold := retryAfter
	if hold <= 0 {
		hold = holdFirst << min(p.inARow, 10)
	}
	p.inARow++
	if until := now.Add(min(hold, holdMost)); until.After(p.next) {
		p.next = until
	}
	// Once in a second: those refused together tell the same.
	if p.rate == 0 || now.Sub(p.throttled) >= time.Second {
		share := 1 - now.Sub(p.second).Seconds()
		p.rate = max(paceLeast, paceBack*(p.count+p.count0*share))
		p.throttled = now
	}
}

// turn begins a new second where the old one is over, under p.mu.
func (p *pacer) turn(now time.Time) {
	switch gone := now.Sub(p.second); {
	case gone < time.Second:
	case gone < 2*time.Second:
		p.second = p.second.Add(time.Second)
		p.count0, p.count = p.count, 0
	default:
		p.second = now
		p.count0, p.count = 0, 0
	}
}
