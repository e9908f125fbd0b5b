// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"context"
	"sync"
	"time"
)

// Ignore is a user who does not react; see [Server.ScriptUser].
const Ignore Decision = "ignore"

// ScriptUser says what a user, named by subject or user id, does from now on
// when asked for consent, so that tests need no browser: with Allow they open
// the link, sign in and allow, and the grant is confirmed as the application's
// callback would; with Deny they open the link and refuse; with Ignore, as at
// the start, they do nothing. What they have been asked and not answered yet
// counts, too.
//
// To test a callback of one's own use [Server.Authorize], which leads to it.
// ScriptUser panics if the cloud has no such user.
func (s *Server) ScriptUser(user string, d Decision) {
	if _, ok := s.cloud.User(user); !ok {
		panic("identitytest: ScriptUser: the cloud has no user " + user)
	}
	s.script.mu.Lock()
	s.script.does[user] = d
	s.script.mu.Unlock()
	for uri, link := range s.cloud.Identity.Open(user) {
		s.script.play(s, user, uri, link)
	}
}

// script plays the users who are told what to do.
type script struct {
	ctx     context.Context
	cancel  context.CancelFunc
	playing sync.WaitGroup

	mu   sync.Mutex
	does map[string]Decision // guarded by mu
}

func (p *script) begin(s *Server) {
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.does = make(map[string]Decision)
	s.cloud.Identity.OnSession = func(user, uri, link string) { p.play(s, user, uri, link) }
}

// play lets a user do what the script says, in a goroutine.
func (p *script) play(s *Server, user, uri, link string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.does[user]
	if d != Allow && d != Deny || p.ctx.Err() != nil {
		return
	}
	p.playing.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		defer cancel()
		// What goes wrong shows in the record of calls.
		if _, err := s.Authorize(ctx, link, user, d); err == nil && d == Allow {
			s.cloud.Identity.Confirm(uri)
		}
	})
}

func (p *script) end() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.playing.Wait()
}
