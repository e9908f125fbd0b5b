// SPDX-License-Identifier: Apache-2.0

package tokencache

import "time"

// clock counts nanoseconds since it was made, by the monotonic clock and by the
// wall clock. The latter jumps when somebody sets it, or when the machine wakes
// from a sleep in which the former stood still.
type clock struct {
	begun time.Time // with both readings
	wall  time.Time // the wall reading alone
}

func newClock() clock {
	now := time.Now()
	return clock{now, now.Round(0)}
}

// now is the monotonic time. It costs half of what time.Now does.
func (c *clock) now() int64 { return int64(time.Since(c.begun)) }

// at is t, which must have a monotonic reading, as now would have told it.
func (c *clock) at(t time.Time) int64 { return int64(t.Sub(c.begun)) }

// wallAt is the wall time t.
func (c *clock) wallAt(t time.Time) int64 { return int64(t.Round(0).Sub(c.wall)) }

// skewAge is how long it may take to see that the wall clock has jumped. Asking
// it at each hit would be a third of a hit's price.
const skewAge = int64(100 * time.Millisecond)

// skew is how far the wall clock is ahead of the monotonic one, as of a while
// ago. The zero value is ready to use.
type skew struct {
	ahead int64
	seen  int64
}

// wall is the wall time at the monotonic time now.
func (s *skew) wall(c *clock, now int64) int64 {
	if now-s.seen >= skewAge {
		t := time.Now()
		s.ahead, s.seen = c.wallAt(t)-c.at(t), now
	}
	return now + s.ahead
}
