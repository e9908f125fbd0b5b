// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
)

// NotifyAuthorization tells the sources in this process that the state of an
// authorization session may have changed, so that those that wait for it ask
// the service at once instead of at their next poll. A [CallbackHandler] calls
// it; a handler of one's own does so after
// [identity.Client.CompleteResourceTokenAuth], or when the user came back
// having refused. An unknown session is ignored. It is safe for concurrent use.
func NotifyAuthorization(sessionURI string) { consents.notify(topic(sessionURI)) }

func (r *consentRegistry) notify(topic string) {
	r.mu.Lock()
	c := r.byTopic[topic]
	r.mu.Unlock()
	if c != nil {
		c.notify()
	}
}

// DeclineAuthorization is the user's "not now" in a process whose tools wait,
// where another one has the [CallbackHandler] and no [Notifier] connects them.
// id is what [CallbackHandler.Expect] named the authorization, and caller the
// user, verified: nobody else's waiting is ended. It reports whether anybody
// waited. It is safe for concurrent use.
func DeclineAuthorization(caller identity.Caller, id string) bool {
	return consents.decline(id, func(c *consent) bool { return c.key.subject == caller.Subject() })
}

// decline ends the waiting for a session as refused, if may agrees.
func (r *consentRegistry) decline(topic string, may func(*consent) bool) bool {
	r.mu.Lock()
	c := r.byTopic[topic]
	r.mu.Unlock()
	if c == nil || !may(c) {
		return false
	}
	c.finish(OAuth2Token{}, ErrAuthorizationDenied)
	return true
}

// anybody is for those who have been checked before.
func anybody(*consent) bool { return true }

// declined comes before the topic of a session whose user said "not now".
const declined = "declined/"

// heard does what another process told.
func (r *consentRegistry) heard(told string) {
	if topic, ok := strings.CutPrefix(told, declined); ok {
		r.decline(topic, anybody)
		return
	}
	r.notify(told)
}

// topic names a session between processes without giving its URI away.
func topic(sessionURI string) string {
	sum := sha256.Sum256([]byte(sessionURI))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A Notifier carries wake-ups from the process that handled a user's return to
// those whose tools wait, for example over Redis PUBLISH and SUBSCRIBE. Topics
// are short, printable and no secrets. A wake-up that is lost costs a few
// seconds: sources poll all the same. Implementations are safe for concurrent
// use.
type Notifier interface {
	// Notify tells topic to all who listen.
	Notify(ctx context.Context, topic string) error
	// Listen calls heard for each topic that is told, until ctx ends or the
	// connection breaks. It returns why it ended.
	Listen(ctx context.Context, heard func(topic string)) error
}

// ListenAuthorizations wakes the sources of this process whenever another one
// tells n, and listens again when that breaks off. It returns when ctx ends,
// with ctx's error: run it in a goroutine of its own.
func ListenAuthorizations(ctx context.Context, n Notifier) error {
	if n == nil {
		return errors.New("credentials: ListenAuthorizations needs a notifier")
	}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		begun := time.Now()
		_ = n.Listen(ctx, consents.heard)
		if time.Since(begun) > time.Minute {
			pause = time.Second
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
