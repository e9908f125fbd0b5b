// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Fault is something that goes wrong with an operation, because a test asked
// for it. The fields are looked at in their order.
type Fault struct {
	Op    string        // operation, "" for any
	Times int           // how often, 0 until it is removed
	Delay time.Duration // answer later; alone, the answer itself is right
	Hang  bool          // no answer until the caller leaves
	Drop  bool          // close the connection without an answer
	// Body replaces the answer, with ContentType and Status.
	Body, ContentType string
	// Status answers with an error of this Code, and asks to wait for
	// RetryAfter.
	Status     int
	Code       string
	RetryAfter time.Duration
	// Expired lets credentials be dead when they arrive.
	Expired bool
}

// Faults are what is to go wrong, oldest first. The zero value is ready to use,
// and it is safe for concurrent use.
type Faults struct {
	mu   sync.Mutex
	list []*Fault // guarded by mu
}

// Add lets f go wrong until it has been used up or remove is called.
func (fs *Faults) Add(f Fault) (remove func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	added := &f
	fs.list = append(fs.list, added)
	return func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.list = slices.DeleteFunc(fs.list, func(x *Fault) bool { return x == added })
	}
}

// Clear lets nothing go wrong any more.
func (fs *Faults) Clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = nil
}

// Take returns the fault for an operation, nil if there is none.
func (fs *Faults) Take(op string) *Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		if f.Op != "" && f.Op != op {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				fs.list = slices.Delete(fs.list, i, i+1)
			}
		}
		return &taken
	}
	return nil
}

// Play does what goes wrong before the operation runs. It reports whether the
// request has been dealt with, and with which status.
func (f *Fault) Play(w http.ResponseWriter, r *http.Request) (status int, done bool) {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return 0, true
		}
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
		return 0, true
	case f.Drop:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
		return 0, true
	case f.Body != "" || f.ContentType != "":
		status = f.Status
		if status == 0 {
			status = http.StatusOK
		}
		w.Header().Set("Content-Type", f.ContentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(f.Body))
		return status, true
	case f.Status != 0:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
		return f.Status, false
	}
	return 0, false
}
