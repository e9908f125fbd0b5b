// SPDX-License-Identifier: Apache-2.0

// Package core is what the services of the local cloud stand on: one clock,
// one record of calls, pages, and the guard in front of every listener.
//
// Everything in the local cloud is a simulation and says so.
package core

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is the cloud's own time: the real one plus an offset that tests move.
// The zero value is the real time. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration // guarded by mu
}

// Now is the cloud's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// Advance moves the cloud's time forward (or, with a negative d, back).
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// Call is one request that a service answered. It holds no secret.
type Call struct {
	Time    time.Time
	Service string // "identity", "oauth", "model", "demo"
	Op      string // operation, such as GetResourceAPIKey
	User    string // subject or user id, "" without one
	Target  string // what it was about: a provider, a client, a session
	Signer  string // access key id, "" if unsigned
	Status  int    // HTTP status of the answer
	Code    string // error code, "" on success
	// Params are the parameters of one of the last requests to Agent Identity,
	// secrets masked.
	Params map[string]string
}

// maxCalls bounds the record of a cloud that runs for days.
const maxCalls = 20_000

// maxParams is how many of the last calls keep their parameters.
const maxParams = 1000

// Recorder keeps the calls, oldest first. The zero value is ready to use, and
// it is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex // guards the rest
	calls   []Call
	changed chan struct{} // closed at the next call, nil if nobody waits
}

// Add records c.
func (r *Recorder) Add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) >= maxCalls {
		r.calls = slices.Delete(r.calls, 0, maxCalls/2)
	}
	r.calls = append(r.calls, c)
	if old := len(r.calls) - 1 - maxParams; old >= 0 {
		r.calls[old].Params = nil
	}
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Wait waits until a call makes enough true.
func (r *Recorder) Wait(ctx context.Context, enough func(calls []Call) bool) error {
	for {
		r.mu.Lock()
		if enough(r.calls) {
			r.mu.Unlock()
			return nil
		}
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Calls returns a copy of the record.
func (r *Recorder) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// User is somebody who can sign in to the local cloud.
type User struct {
	Subject string // the sub claim
	Name    string
	Email   string
}

// Base is shared by all services of one cloud.
type Base struct {
	// URL is the cloud's own address, without a slash at the end.
	URL   string
	Clock *Clock
	Calls *Recorder
	Users []User
	// Faults are what tests let go wrong.
	Faults *Faults
}

// User finds a user by subject.
func (b *Base) User(subject string) (User, bool) {
	for _, u := range b.Users {
		if u.Subject == subject {
			return u, true
		}
	}
	return User{}, false
}
