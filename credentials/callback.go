// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// pendingLife is how long an authorization that was asked for can be answered.
const pendingLife = 15 * time.Minute

// maxAsked bounds how many sign-ins one session remembers.
const maxAsked = 16

// Login is a user's sign-in to the application in one browser.
type Login struct {
	// ID identifies the sign-in: made by the application for each one anew,
	// impossible to guess, and kept in a cookie that scripts cannot read. An
	// empty ID says that nobody is signed in.
	ID string
	// Caller is the user, as the application knows them.
	Caller identity.Caller
}

// CallbackConfig configures a [CallbackHandler].
type CallbackConfig struct {
	// Client confirms what users grant. Required.
	Client *identity.Client
	// Login says who is signed in in the browser that sent a request. An
	// error says that this cannot be told now. Required.
	Login func(*http.Request) (Login, error)
	// Store keeps who was asked. If nil, a [MemoryPendingStore]; an
	// application of several processes needs one that they share.
	Store PendingStore
	// Page answers the browser. If nil, a page in English and Chinese that
	// says what happened; a client that does not ask for HTML gets JSON.
	Page func(http.ResponseWriter, *http.Request, CallbackResult)
	// Logger gets one line for each answer: the outcome and the provider. If
	// nil, nothing is logged.
	Logger *slog.Logger
}

// CallbackHandler is the page that a user's browser returns to after they
// granted or refused access: the CallbackURL of OAuth2 sources. It confirms a
// grant only
//
//   - for a session that was asked for with [CallbackHandler.Expect],
//   - in the browser, and for the user, that was asked,
//   - with the state that the session was begun with,
//   - once,
//   - and with the very ID token or user id that the session was begun with,
//     even where the user has a renewed one by now.
//
// Then it wakes the tools that wait. Without these checks, whoever is sent
// somebody else's link could hand them their grant.
//
// It is safe for concurrent use. Make one with [NewCallbackHandler].
type CallbackHandler struct {
	cfg CallbackConfig
}

// NewCallbackHandler makes a handler.
func NewCallbackHandler(cfg CallbackConfig) (*CallbackHandler, error) {
	switch {
	case cfg.Client == nil:
		return nil, errors.New("credentials: CallbackConfig.Client is required: it confirms what users grant")
	case cfg.Login == nil:
		return nil, errors.New("credentials: CallbackConfig.Login is required: it says who is signed in in a browser")
	}
	if cfg.Store == nil {
		cfg.Store = new(MemoryPendingStore)
	}
	if cfg.Page == nil {
		cfg.Page = callbackPage
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &CallbackHandler{cfg}, nil
}

// pending is one sign-in that was asked, as it is kept.
type pending struct {
	Login    string   `json:"login"`   // digest of its id
	Subject  string   `json:"subject"` // digest of the user
	State    string   `json:"state,omitempty"`
	Token    string   `json:"token,omitempty"`
	UserID   string   `json:"user_id,omitempty"`
	Provider string   `json:"provider"`
	Scopes   []string `json:"scopes,omitempty"`
	URL      string   `json:"url"`
	Session  string   `json:"session"`
	Tool     string   `json:"tool,omitempty"`
}

func (p *pending) authorization() Authorization {
	return Authorization{
		Provider: p.Provider, Scopes: p.Scopes, URL: p.URL, SessionURI: p.Session, Tool: p.Tool,
		Caller: identity.Caller{UserToken: identity.NewSecret(p.Token), UserID: p.UserID, State: p.State},
	}
}

// Errors of Expect and Asked.
var (
	// ErrOtherUser: the authorization belongs to another user than the one
	// who is signed in.
	ErrOtherUser = errors.New("credentials: the authorization belongs to another user")
	// ErrNotPending: no such authorization was asked for in this browser, or
	// not any more.
	ErrNotPending = errors.New("credentials: no such authorization is open in this browser")
)

// Expect remembers that the user of login is about to be shown a. Call it
// before showing the link. Several sign-ins of the user may be asked for the
// same session, and any of them may answer.
//
// Caller in a must be the one that the agent was called with: its ID token or
// user id confirms the session, and its state must come back.
//
// The result names the authorization in links of the application's own; see
// [CallbackHandler.Asked].
func (h *CallbackHandler) Expect(ctx context.Context, login Login, a Authorization) (id string, err error) {
	link, err := url.Parse(a.URL)
	switch {
	case login.ID == "":
		return "", errors.New("credentials: Expect: nobody is signed in")
	case a.SessionURI == "":
		return "", errors.New("credentials: Expect: the authorization has no session")
	case err != nil || link.Scheme != "https" && (link.Scheme != "http" || !loopback.Is(link.Hostname())):
		return "", errors.New("credentials: Expect: the authorization has no usable link: want https, or http to a loopback address")
	case a.Caller.Subject().IsZero() || a.Caller.Subject() != login.Caller.Subject():
		return "", ErrOtherUser
	}
	id = topic(a.SessionURI)
	asked, err := h.list(ctx, id)
	if err != nil {
		return "", err
	}
	p := pending{
		Login: digest(login.ID), Subject: subject(login.Caller), State: a.Caller.State,
		Provider: a.Provider, Scopes: a.Scopes, URL: a.URL, Session: a.SessionURI, Tool: a.Tool,
	}
	if p.Token = a.Caller.UserToken.Reveal(); p.Token == "" {
		p.UserID = a.Caller.UserID
	}
	for _, have := range asked {
		if !same(have.Subject, p.Subject) {
			return "", ErrOtherUser
		}
		if have.Login == p.Login && have.State == p.State && have.Token == p.Token {
			return id, nil
		}
	}
	if len(asked) >= maxAsked {
		return id, nil // those who were asked first can answer
	}
	return id, h.keep(ctx, id, p)
}

func (h *CallbackHandler) keep(ctx context.Context, id string, p pending) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := h.cfg.Store.Append(ctx, storeKey(id), b, pendingLife); err != nil {
		return fmt.Errorf("credentials: keeping the pending authorization: %w", err)
	}
	return nil
}

func (h *CallbackHandler) list(ctx context.Context, id string) ([]pending, error) {
	return decodePending(h.cfg.Store.List(ctx, storeKey(id)))
}

func storeKey(id string) string { return "authorization/" + id }

func decodePending(values [][]byte, err error) ([]pending, error) {
	if err != nil {
		return nil, fmt.Errorf("credentials: reading the pending authorization: %w", err)
	}
	asked := make([]pending, 0, len(values))
	for _, v := range values {
		var p pending
		if json.Unmarshal(v, &p) == nil { // what cannot be read was not written by us
			asked = append(asked, p)
		}
	}
	return asked, nil
}

// Asked returns the authorization that [CallbackHandler.Expect] named id, for
// the browser that sent r: for a page of the application's own that says what
// is asked before it sends the user to Authorization.URL. A link to that page
// may be shown anywhere, since it works for nobody else. The error is
// [ErrNotPending] if it was not asked for in that browser's sign-in.
func (h *CallbackHandler) Asked(r *http.Request, id string) (Authorization, error) {
	login, err := h.cfg.Login(r)
	if err != nil {
		return Authorization{}, err
	}
	asked, err := h.list(r.Context(), id)
	if err != nil {
		return Authorization{}, err
	}
	own := login.find(asked)
	if own == nil {
		return Authorization{}, ErrNotPending
	}
	return own.authorization(), nil
}

// Decline is the user's "not now": nothing is granted, the tools that wait for
// the authorization that [CallbackHandler.Expect] named id end with
// [ErrAuthorizationDenied], here and where the store can tell (elsewhere
// [DeclineAuthorization] does it), and a return of the browser is not accepted
// any more. The service is not told; a later call
// asks anew. Call it for a POST of the application's own page, guarded as its
// others are. The error is [ErrNotPending] as for [CallbackHandler.Asked].
func (h *CallbackHandler) Decline(r *http.Request, id string) (Authorization, error) {
	if _, err := h.Asked(r, id); err != nil {
		return Authorization{}, err
	}
	login, err := h.cfg.Login(r)
	if err != nil {
		return Authorization{}, err
	}
	asked, err := decodePending(h.cfg.Store.TakeAll(r.Context(), storeKey(id)))
	if err != nil {
		return Authorization{}, err
	}
	own := login.find(asked)
	if own == nil {
		return Authorization{}, ErrNotPending // answered in the meantime
	}
	consents.decline(id, anybody)
	h.tell(r.Context(), declined+id)
	return own.authorization(), nil
}

// find returns what this very sign-in, of this very user, was asked.
func (l *Login) find(asked []pending) *pending {
	if l.ID == "" {
		return nil
	}
	id, who := digest(l.ID), subject(l.Caller)
	i := slices.IndexFunc(asked, func(p pending) bool { return same(p.Login, id) && same(p.Subject, who) })
	if i < 0 {
		return nil
	}
	return &asked[i]
}

// confirm tells the service that the user who was asked has come back.
func (h *CallbackHandler) confirm(ctx context.Context, sessionURI string, asked []pending) error {
	var tried []identity.UserIdentifier
	var err error
	for _, p := range asked {
		proof := identity.UserIdentifier{UserToken: identity.NewSecret(p.Token), UserID: p.UserID}
		if slices.ContainsFunc(tried, func(t identity.UserIdentifier) bool {
			return t.UserID == proof.UserID && t.UserToken.Equal(proof.UserToken)
		}) {
			continue
		}
		tried = append(tried, proof)
		err = h.cfg.Client.CompleteResourceTokenAuth(ctx, sessionURI, proof)
		apiErr, ok := errors.AsType[*identity.APIError](err)
		if err == nil || !ok || apiErr.Temporary() {
			return err
		}
		// Else another of this user's tokens may have begun the session.
	}
	return err
}

// notify wakes the tools that wait: here, and where the store can tell.
func (h *CallbackHandler) notify(ctx context.Context, sessionURI string) {
	NotifyAuthorization(sessionURI)
	h.tell(ctx, topic(sessionURI))
}

// tell tells other processes, where the store can.
func (h *CallbackHandler) tell(ctx context.Context, topic string) {
	n, ok := h.cfg.Store.(Notifier)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := n.Notify(ctx, topic); err != nil {
		h.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "waking other processes; they will find out by polling", slog.Any("error", err))
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func subject(c identity.Caller) string {
	key := c.Subject()
	return base64.RawURLEncoding.EncodeToString(key[:])
}

// same compares in a time that does not depend on where the texts differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
