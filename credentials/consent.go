// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
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
	key             consentKey
	caller          identity.Caller // who began it
	url, sessionURI string
	begun           time.Time

	wake  chan struct{} // capacity 1: poll now
	done  chan struct{} // closed when token and err are final
	token OAuth2Token
	err   error

	mu       sync.Mutex // guards the rest
	finished bool
	watchers int
	stopPoll context.CancelFunc
}

func (c *consent) required(cfg OAuth2Config) error {
	return &AuthorizationRequiredError{Provider: cfg.Provider, Scopes: cfg.Scopes, URL: c.url, SessionURI: c.sessionURI, Caller: c.caller}
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

// watch polls for the consent's end while anybody watches. The poll has the
// ctx values of the first who watches, not its end: all watchers are the same
// user.
func (c *consent) watch(ctx context.Context, s *OAuth2Source) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers++
	if c.watchers == 1 && !c.finished {
		ctx, c.stopPoll = context.WithCancel(context.WithoutCancel(ctx))
		go c.poll(ctx, s)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers--
		if c.watchers == 0 && c.stopPoll != nil {
			c.stopPoll()
			c.stopPoll = nil
		}
	}
}

// poll repeats the request with growing intervals until the consent ends. A
// failure that may pass does not end it.
func (c *consent) poll(ctx context.Context, s *OAuth2Source) {
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
		if ctx.Err() != nil || !c.pending() {
			return
		}
		callCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := s.ask(callCtx, c)
		cancel()
		switch {
		case err == nil, ctx.Err() != nil, !c.pending():
			return
		case isPending(err):
		default:
			if ended(err) {
				c.finish(OAuth2Token{}, err)
				return
			}
			if apiErr, ok := errors.AsType[*identity.APIError](err); ok && apiErr.RetryAfter > interval {
				interval = min(apiErr.RetryAfter, time.Minute)
			}
		}
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

// consents holds the pending consents of this process. They are found by
// session URI, too, which only the service hands out and nobody can guess.
var consents = &consentRegistry{
	byKey:     make(map[consentKey]*consent),
	bySession: make(map[string]*consent),
	locks:     make(map[consentKey]*keyLock),
}

type consentRegistry struct {
	mu        sync.Mutex // guards the rest
	byKey     map[consentKey]*consent
	bySession map[string]*consent
	locks     map[consentKey]*keyLock
	swept     time.Time
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

func (r *consentRegistry) begin(key consentKey, caller identity.Caller, url, sessionURI string) *consent {
	c := &consent{
		key: key, caller: caller, url: url, sessionURI: sessionURI, begun: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byKey[key] = c
	r.bySession[sessionURI] = c
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
	delete(r.bySession, c.sessionURI)
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

// NotifyAuthorization tells the sources in this process that the state of an
// authorization session may have changed, so that those that wait for it ask
// the service at once instead of at their next poll. Call it after
// [identity.Client.CompleteResourceTokenAuth], or when the user came back
// having refused. An unknown session is ignored. It is safe for concurrent use.
func NotifyAuthorization(sessionURI string) {
	consents.mu.Lock()
	c := consents.bySession[sessionURI]
	consents.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func lengthPrefix(s string) string { return strconv.Itoa(len(s)) + ":" }
