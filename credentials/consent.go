// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

const (
	// consentLife is how long a consent that nobody waits for is remembered,
	// so that a later call of the same user continues it.
	consentLife = 10 * time.Minute

	pollFirst = time.Second
	pollMost  = 5 * time.Second
)

// consentKey says what one consent is shared by: the same user of the same
// agent who needs the same grant.
type consentKey struct {
	agent   *workload.Agent
	subject identity.CallerKey
	params  string
}

// consent is one pending request for a user's consent. Many calls of that
// user may wait for it.
type consent struct {
	key        consentKey
	sessionURI string
	begun      time.Time

	wake  chan struct{} // capacity 1: poll now
	done  chan struct{} // closed when token and err are final
	token OAuth2Token
	err   error

	mu       sync.Mutex      // guards the rest
	caller   identity.Caller // who began it; no user if that was elsewhere
	url      string          // "" if it was begun elsewhere and the service does not say
	finished bool
	watchers map[*watcher]struct{}
	polling  bool
	stopPoll context.CancelFunc
}

// watcher is one ctx that waits for a consent. Calls with the same ctx share
// it.
type watcher struct {
	ctx   context.Context
	calls int           // that wait, guarded by the consent's mutex
	told  chan struct{} // closed when OnAuthorization has returned
	err   error         // of OnAuthorization, set before told is closed
	lost  chan error    // capacity 1: the service does not take this caller any more
}

func newConsent(key consentKey, caller identity.Caller, url, sessionURI string) *consent {
	return &consent{
		key: key, caller: caller, url: url, sessionURI: sessionURI, begun: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}), watchers: make(map[*watcher]struct{}),
	}
}

// authorization describes c for those who are asked.
func (c *consent) authorization(cfg *OAuth2Config, deadline time.Time) Authorization {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Authorization{
		Provider: cfg.Provider, Scopes: cfg.Scopes, URL: c.url, SessionURI: c.sessionURI, Caller: c.caller, Deadline: deadline,
	}
}

// learn notes the link of a consent that was begun elsewhere.
func (c *consent) learn(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.url == "" {
		c.url = url
	}
}

func (c *consent) pending() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// finish ends the consent, once.
func (c *consent) finish(token OAuth2Token, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	c.token, c.err = token, err
	consents.remove(c)
	close(c.done)
}

// watch adds a call that waits with ctx, and polls for the end while there are
// any. first is whether the call must tell the person: one does for each ctx.
func (c *consent) watch(ctx context.Context, s *OAuth2Source) (w *watcher, first bool, stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for have := range c.watchers {
		if sameContext(have.ctx, ctx) {
			w = have
		}
	}
	if first = w == nil; first {
		w = &watcher{ctx: ctx, told: make(chan struct{}), lost: make(chan error, 1)}
		c.watchers[w] = struct{}{}
	}
	w.calls++
	if !c.polling && !c.finished {
		pollCtx, cancel := context.WithCancel(context.Background())
		c.polling, c.stopPoll = true, cancel
		go c.poll(pollCtx, s)
	}
	return w, first, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.calls--; w.calls == 0 {
			delete(c.watchers, w)
		}
		if len(c.watchers) == 0 && c.stopPoll != nil {
			c.stopPoll()
		}
	}
}

// sameContext reports whether two contexts are one. Not every context type can
// be compared.
func sameContext(a, b context.Context) bool {
	return reflect.TypeOf(a).Comparable() && a == b
}

// speaker chooses for whom to poll: all who watch are the same user, but their
// ID tokens end at different times, and a renewed one may have come since.
func (c *consent) speaker() *watcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *watcher
	var bestEnd time.Time
	for w := range c.watchers {
		caller, _ := identity.FromContext(w.ctx)
		end := caller.TokenExpiry() // zero: does not end
		if best == nil || !bestEnd.IsZero() && (end.IsZero() || end.After(bestEnd)) {
			best, bestEnd = w, end
		}
	}
	return best
}

// lose ends the waiting of w alone.
func (c *consent) lose(w *watcher, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
	select {
	case w.lost <- err:
	default:
	}
}

// poll repeats the request with growing intervals until the consent ends or
// nobody watches. A failure that may pass does not end it.
func (c *consent) poll(ctx context.Context, s *OAuth2Source) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stopPoll()
		c.polling, c.stopPoll = false, nil
		if len(c.watchers) > 0 && !c.finished { // who came while it stopped
			ctx, c.stopPoll = context.WithCancel(context.Background())
			c.polling = true
			go c.poll(ctx, s)
		}
	}()
	interval := pollFirst
	for {
		// A little jitter keeps the polls of many users apart.
		timer := time.NewTimer(interval + rand.N(interval/4))
		select {
		case <-c.wake:
			interval = pollFirst
		case <-timer.C:
			interval = min(interval*3/2, pollMost)
		case <-c.done:
		case <-ctx.Done():
		}
		timer.Stop()
		w := c.speaker()
		if w == nil || ctx.Err() != nil || !c.pending() {
			return
		}
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 30*time.Second)
		unlink := context.AfterFunc(ctx, cancel)
		_, err := s.ask(callCtx, c)
		unlink()
		cancel()
		switch {
		case err == nil, ctx.Err() != nil, !c.pending():
			return
		case isPending(err):
		case errors.Is(err, identity.ErrInvalidUserToken):
			c.lose(w, err) // others of this user may have a newer one
			c.notify()
		case ended(err):
			c.finish(OAuth2Token{}, err)
			return
		default:
			if apiErr, ok := errors.AsType[*identity.APIError](err); ok && apiErr.RetryAfter > interval {
				interval = min(apiErr.RetryAfter, time.Minute)
			}
		}
	}
}

// notify lets the poll ask at once.
func (c *consent) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ended reports whether the service refused to go on with a session for good.
func ended(err error) bool {
	apiErr, ok := errors.AsType[*identity.APIError](err)
	return ok && !apiErr.Temporary()
}

func isPending(err error) bool {
	_, ok := errors.AsType[*pendingError](err)
	return ok
}

// consents holds the pending consents of this process.
var consents = &consentRegistry{
	byKey:   make(map[consentKey]*consent),
	byTopic: make(map[string]*consent),
	locks:   make(map[consentKey]*keyLock),
}

type consentRegistry struct {
	mu      sync.Mutex // guards the rest
	byKey   map[consentKey]*consent
	byTopic map[string]*consent
	locks   map[consentKey]*keyLock
	swept   time.Time
}

// keyLock lets one request at a time begin or continue the consent of a key,
// so that parallel calls do not begin two.
type keyLock struct {
	held  chan struct{} // capacity 1
	users int           // guarded by the registry's mutex
}

func (r *consentRegistry) lock(ctx context.Context, key consentKey) (unlock func(), err error) {
	r.mu.Lock()
	l := r.locks[key]
	if l == nil {
		l = &keyLock{held: make(chan struct{}, 1)}
		r.locks[key] = l
	}
	l.users++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(r.locks, key)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

func (r *consentRegistry) find(key consentKey) *consent {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep()
	return r.byKey[key]
}

// add makes c the one that further calls join.
func (r *consentRegistry) add(c *consent) *consent {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byKey[c.key] = c
	r.byTopic[topic(c.sessionURI)] = c
	return c
}

func (r *consentRegistry) remove(c *consent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c)
}

func (r *consentRegistry) drop(c *consent) {
	if r.byKey[c.key] == c {
		delete(r.byKey, c.key)
	}
	delete(r.byTopic, topic(c.sessionURI))
}

// sweep drops what nobody came back for, at most once a minute.
func (r *consentRegistry) sweep() {
	if time.Since(r.swept) < time.Minute {
		return
	}
	r.swept = time.Now()
	for _, c := range r.byKey {
		if time.Since(c.begun) > consentLife {
			r.drop(c)
		}
	}
}
