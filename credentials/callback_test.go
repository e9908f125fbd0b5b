// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// site is an application with signed-in browsers and a callback handler. A
// browser is named by its cookie.
type site struct {
	*app
	handler *credentials.CallbackHandler
	logins  map[string]credentials.Login
	log     bytes.Buffer
	logger  *slog.Logger // of log
}

func newSite(t *testing.T, store credentials.PendingStore) *site {
	s := &site{app: newApp(t), logins: map[string]credentials.Login{}}
	s.logger = slog.New(slog.NewTextHandler(&s.log, nil))
	var err error
	s.handler, err = credentials.NewCallbackHandler(s.callbackConfig(store))
	require.NoError(t, err)
	return s
}

func (s *site) callbackConfig(store credentials.PendingStore) credentials.CallbackConfig {
	return credentials.CallbackConfig{
		Client: s.agent.Client(), Store: store, Logger: s.logger,
		Login: func(r *http.Request) (credentials.Login, error) {
			c, err := r.Cookie("session")
			if err != nil {
				return credentials.Login{}, nil
			}
			if c.Value == "broken" {
				return credentials.Login{}, errors.New("no sessions now")
			}
			return s.logins[c.Value], nil
		},
	}
}

// signIn signs a user in in a browser, with an ID token of its own.
func (s *site) signIn(browser, user string) identity.Caller {
	caller := identity.Caller{UserToken: s.cloud.IDToken(user), State: "chat of " + browser}
	s.logins[browser] = credentials.Login{ID: "login-" + browser + user, Caller: caller}
	return caller
}

// ask lets the agent ask for consent and expects the answer from browser.
func (s *site) ask(t *testing.T, browser string, caller identity.Caller) *credentials.AuthorizationRequiredError {
	t.Helper()
	_, err := credentials.NewOAuth2Source(s.agent, s.config()).Credential(identity.NewContext(t.Context(), caller))
	required := new(credentials.AuthorizationRequiredError)
	require.ErrorAs(t, err, &required)
	s.expect(t, browser, caller, required)
	return required
}

func (s *site) expect(t *testing.T, browser string, caller identity.Caller, required *credentials.AuthorizationRequiredError) string {
	t.Helper()
	id, err := s.handler.Expect(t.Context(), s.logins[browser], credentials.Authorization{
		Provider: required.Provider, Scopes: required.Scopes, URL: required.URL, SessionURI: required.SessionURI, Caller: caller,
	})
	require.NoError(t, err)
	return id
}

// grant does what the user does at the authorization server.
func (s *site) decide(t *testing.T, link, user string, d identitytest.Decision) *url.URL {
	t.Helper()
	back, err := s.cloud.Authorize(t.Context(), link, user, d)
	require.NoError(t, err)
	return back
}

func (s *site) open(browser string, u *url.URL, header ...string) *httptest.ResponseRecorder {
	return s.openAt(s.handler, browser, u, header...)
}

func (s *site) openAt(h http.Handler, browser string, u *url.URL, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, u.RequestURI(), nil)
	if browser != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: browser})
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func with(u *url.URL, name, value string) *url.URL {
	c := *u
	q := c.Query()
	q.Del(name)
	if value != "" {
		q.Set(name, value)
	}
	c.RawQuery = q.Encode()
	return &c
}

func outcome(w *httptest.ResponseRecorder) string {
	_, rest, _ := strings.Cut(w.Body.String(), `"outcome":"`)
	o, _, _ := strings.Cut(rest, `"`)
	return o
}

func TestCallbackIsBoundToUserAndBrowser(t *testing.T) {
	s := newSite(t, nil)
	alice := s.signIn("phone", "alice")
	s.signIn("laptop", "alice") // another browser of hers, which was not asked
	s.signIn("bob's", "bob")
	required := s.ask(t, "phone", alice)
	back := s.decide(t, required.URL, "alice", identitytest.Allow)
	require.Equal(t, "chat of phone", back.Query().Get("state"))

	for name, c := range map[string]struct {
		browser string
		at      *url.URL
		want    credentials.CallbackOutcome
		status  int
	}{
		"not signed in":              {"", back, credentials.CallbackSignedOut, 401},
		"another user":               {"bob's", back, credentials.CallbackOtherLogin, 403},
		"another browser of hers":    {"laptop", back, credentials.CallbackOtherLogin, 403},
		"another state":              {"phone", with(back, "state", "chat of laptop"), credentials.CallbackUnknown, 400},
		"no state":                   {"phone", with(back, "state", ""), credentials.CallbackUnknown, 400},
		"another session":            {"phone", with(back, "session_uri", "urn:x"), credentials.CallbackUnknown, 400},
		"no session":                 {"phone", with(back, "session_uri", ""), credentials.CallbackMalformed, 400},
		"two sessions":               {"phone", &url.URL{Path: "/", RawQuery: back.RawQuery + "&session_uri=x"}, credentials.CallbackMalformed, 400},
		"sessions cannot be told":    {"broken", back, credentials.CallbackUnavailable, 502},
		"signed in as somebody else": {"taken over", back, credentials.CallbackOtherLogin, 403},
	} {
		// The same login id, but another user: an application that reuses ids.
		s.logins["taken over"] = credentials.Login{ID: s.logins["phone"].ID, Caller: s.logins["bob's"].Caller}
		w := s.open(c.browser, c.at)
		require.Equal(t, string(c.want), outcome(w), name)
		require.Equal(t, c.status, w.Code, name)
	}
	require.Zero(t, s.cloud.Count("CompleteResourceTokenAuth"))

	// None of that used it up. Meanwhile her ID token was renewed; the one that
	// the session was begun with confirms it.
	renewed := s.logins["phone"]
	renewed.Caller.UserToken = s.cloud.IDToken("alice")
	s.logins["phone"] = renewed
	w := s.open("phone", back)
	require.Equal(t, "granted", outcome(w), w.Body)
	_, err := credentials.NewOAuth2Source(s.agent, s.config()).Credential(identity.NewContext(t.Context(), renewed.Caller))
	require.NoError(t, err)
	require.Equal(t, "unknown", outcome(s.open("phone", back)), "once")
	require.Equal(t, 1, s.cloud.Count("CompleteResourceTokenAuth"))
	for _, secret := range []string{required.SessionURI, alice.UserToken.Reveal(), "login-phone"} {
		require.NotContains(t, s.log.String(), secret)
	}
	require.Contains(t, s.log.String(), "outcome=granted provider=test-oauth2")
}

// Two browsers of one user wait for the same consent; either may answer, and
// the token that began the session confirms it.
func TestEitherBrowserThatWasAskedMayAnswer(t *testing.T) {
	for _, answering := range []string{"phone", "laptop"} {
		s := newSite(t, nil)
		phone, laptop := s.signIn("phone", "alice"), s.signIn("laptop", "alice")
		first := s.ask(t, "phone", phone)
		second := s.ask(t, "laptop", laptop)
		require.Equal(t, first.URL, second.URL)
		w := s.open(answering, s.decide(t, first.URL, "alice", identitytest.Allow))
		require.Equal(t, "granted", outcome(w), answering)
	}
}

func TestCallbackOutcomes(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := newSite(t, nil)
		required := s.ask(t, "phone", s.signIn("phone", "alice"))
		back := s.decide(t, required.URL, "alice", identitytest.Deny)
		require.Equal(t, "refused", outcome(s.open("phone", back)))
		require.Equal(t, "unknown", outcome(s.open("phone", with(back, "error", ""))), "what was refused cannot be granted")
		require.Zero(t, s.cloud.Count("CompleteResourceTokenAuth"))
	})
	t.Run("the service is down for a while", func(t *testing.T) {
		s := newSite(t, nil)
		required := s.ask(t, "phone", s.signIn("phone", "alice"))
		back := s.decide(t, required.URL, "alice", identitytest.Allow)
		remove := s.cloud.Inject("CompleteResourceTokenAuth", identitytest.ServiceError(503, "ServiceUnavailable"))
		require.Equal(t, "unavailable", outcome(s.open("phone", back)))
		require.Equal(t, "unavailable", outcome(s.open("phone", back)))
		remove()
		require.Equal(t, "granted", outcome(s.open("phone", back)))
	})
	t.Run("not accepted", func(t *testing.T) {
		s := newSite(t, nil)
		required := s.ask(t, "phone", s.signIn("phone", "alice"))
		back := s.decide(t, required.URL, "alice", identitytest.Allow)
		s.cloud.Advance(time.Hour)
		require.Equal(t, "not_accepted", outcome(s.open("phone", back)))
		require.Equal(t, "unknown", outcome(s.open("phone", back)))
	})
	t.Run("only GET", func(t *testing.T) {
		s := newSite(t, nil)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/callback", nil))
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	})
}

func TestCallbackPage(t *testing.T) {
	s := newSite(t, nil)
	caller := s.signIn("phone", "alice")
	required := s.ask(t, "phone", caller)
	evil := *required
	evil.Provider, evil.Scopes = "<script>alert(1)</script>", []string{"<img src=x onerror=alert(2)>"}
	fresh := newSite(t, nil)
	fresh.logins = s.logins
	fresh.app = s.app
	fresh.expect(t, "phone", caller, &evil)
	back := s.decide(t, required.URL, "alice", identitytest.Deny)
	w := fresh.open("phone", back, "Accept", "text/html", "Accept-Language", "zh-CN,zh;q=0.9,en;q=0.5")
	page := w.Body.String()
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Contains(t, page, `<html lang="zh-CN">`)
	require.Less(t, strings.Index(page, "已拒绝授权"), strings.Index(page, "Access refused"))
	require.NotContains(t, page, "<script")
	require.NotContains(t, page, "<img")
	require.Contains(t, page, "&lt;script&gt;")
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-")
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	require.NotContains(t, page, required.SessionURI)

	w = s.open("", back, "Accept", "text/html")
	require.Contains(t, w.Body.String(), `<html lang="en">`)
	require.Equal(t, 401, w.Code)
}

func TestExpectRefusesWhatIsNotTheirs(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.signIn("phone", "alice"), s.signIn("bob's", "bob")
	required := s.ask(t, "phone", alice)
	good := credentials.Authorization{Provider: required.Provider, URL: required.URL, SessionURI: required.SessionURI, Caller: alice}
	expect := func(login credentials.Login, change func(*credentials.Authorization)) error {
		a := good
		change(&a)
		_, err := s.handler.Expect(t.Context(), login, a)
		return err
	}
	require.ErrorIs(t, expect(s.logins["bob's"], func(*credentials.Authorization) {}), credentials.ErrOtherUser)
	require.ErrorIs(t, expect(s.logins["bob's"], func(a *credentials.Authorization) { a.Caller = bob }), credentials.ErrOtherUser, "a session of Alice's")
	require.ErrorIs(t, expect(s.logins["phone"], func(a *credentials.Authorization) { a.Caller = identity.Caller{} }), credentials.ErrOtherUser)
	require.ErrorContains(t, expect(credentials.Login{}, func(*credentials.Authorization) {}), "signed in")
	require.ErrorContains(t, expect(s.logins["phone"], func(a *credentials.Authorization) { a.SessionURI = "" }), "session")
	for _, link := range []string{"", "javascript:alert(1)", "http://example.com/x", "//example.com"} {
		require.ErrorContains(t, expect(s.logins["phone"], func(a *credentials.Authorization) { a.URL = link }), "usable link", link)
	}

	// The application's own page about it is for the browser that was asked.
	id := s.expect(t, "phone", alice, required)
	r := httptest.NewRequest(http.MethodGet, "/consent/"+id, nil)
	_, err := s.handler.Asked(r, id)
	require.ErrorIs(t, err, credentials.ErrNotPending)
	r.AddCookie(&http.Cookie{Name: "session", Value: "phone"})
	a, err := s.handler.Asked(r, id)
	require.NoError(t, err)
	require.Equal(t, required.URL, a.URL)
	_, err = s.handler.Asked(r, "another")
	require.ErrorIs(t, err, credentials.ErrNotPending)

	for _, cfg := range []credentials.CallbackConfig{{}, {Client: s.agent.Client()}} {
		_, err := credentials.NewCallbackHandler(cfg)
		require.ErrorContains(t, err, "required")
	}
}

// bus is a store that replicas share and that tells them.
type bus struct {
	credentials.MemoryPendingStore

	mu        sync.Mutex
	listening map[chan string]bool
	told      []string
}

func (b *bus) Notify(_ context.Context, topic string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, topic)
	for c := range b.listening {
		c <- topic
	}
	return nil
}

func (b *bus) Listen(ctx context.Context, heard func(string)) error {
	c := make(chan string, 10)
	b.mu.Lock()
	b.listening[c] = true
	b.mu.Unlock()
	for {
		select {
		case topic := <-c:
			if topic == "break" {
				return errors.New("connection lost")
			}
			heard(topic)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A consent that was asked for through one replica is confirmed by another, and
// of two that handle the same return only one confirms.
func TestCallbackOnAnotherReplica(t *testing.T) {
	shared := &bus{listening: map[chan string]bool{}}
	s := newSite(t, shared)
	other, err := credentials.NewCallbackHandler(s.callbackConfig(shared))
	require.NoError(t, err)
	required := s.ask(t, "phone", s.signIn("phone", "alice"))
	back := s.decide(t, required.URL, "alice", identitytest.Allow)
	outcomes := make(chan string, 20)
	var wg sync.WaitGroup
	for i := range 20 {
		h := []http.Handler{s.handler, other}[i%2]
		wg.Go(func() { outcomes <- outcome(s.openAt(h, "phone", back)) })
	}
	wg.Wait()
	close(outcomes)
	count := map[string]int{}
	for o := range outcomes {
		count[o]++
	}
	require.Equal(t, map[string]int{"granted": 1, "unknown": 19}, count)
	require.Equal(t, 1, s.cloud.Count("CompleteResourceTokenAuth"))
	require.Len(t, shared.told, 1)
	require.NotContains(t, shared.told[0], required.SessionURI)
}

func TestMemoryPendingStore(t *testing.T) {
	var m credentials.MemoryPendingStore
	ctx := t.Context()
	value := []byte("v")
	require.NoError(t, m.Append(ctx, "k", value, time.Hour))
	value[0] = 'x'
	require.NoError(t, m.Append(ctx, "k", []byte("w"), time.Hour))
	list, err := m.List(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("v"), []byte("w")}, list)
	list[0][0] = 'x'
	taken, err := m.TakeAll(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("v"), []byte("w")}, taken)
	taken, err = m.TakeAll(ctx, "k")
	require.NoError(t, err)
	require.Empty(t, taken)

	require.NoError(t, m.Append(ctx, "short", []byte("v"), time.Nanosecond))
	time.Sleep(time.Millisecond)
	list, err = m.List(ctx, "short")
	require.NoError(t, err)
	require.Empty(t, list)

	kept := 0
	for i := range 10_050 {
		require.NoError(t, m.Append(ctx, string(rune(i)), []byte("v"), time.Hour+time.Duration(i)*time.Second))
	}
	for i := range 10_050 {
		if list, _ := m.List(ctx, string(rune(i))); len(list) > 0 {
			kept++
		}
	}
	require.Equal(t, 10_000, kept)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, m.Append(ended, "k", nil, time.Hour), context.Canceled)
	_, err = m.List(ended, "k")
	require.ErrorIs(t, err, context.Canceled)
	_, err = m.TakeAll(ended, "k")
	require.ErrorIs(t, err, context.Canceled)
}

// Whatever the address says: only the very session and state that were asked
// for get as far as the service.
func FuzzCallback(f *testing.F) {
	token := identity.NewSecret("e30.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.x")
	caller := identity.Caller{UserToken: token, State: "chat"}
	login := credentials.Login{ID: "login", Caller: caller}
	client, err := identity.New(identity.Config{Endpoint: "http://127.0.0.1:1", Attempts: 1}) // nobody listens
	require.NoError(f, err)
	for _, seed := range []string{"", "session_uri=urn:s&state=chat", "session_uri=urn:s&state=", "session_uri=urn%3As&state=chat&error=x", "session_uri=%ff;&&=", "state=chat&session_uri=urn:s&session_uri=urn:s"} {
		f.Add(seed, "text/html", "zh")
	}
	f.Fuzz(func(t *testing.T, query, accept, language string) {
		handler, err := credentials.NewCallbackHandler(credentials.CallbackConfig{
			Client: client, Login: func(*http.Request) (credentials.Login, error) { return login, nil },
		})
		require.NoError(t, err)
		_, err = handler.Expect(t.Context(), login, credentials.Authorization{Provider: "p", URL: "https://e/", SessionURI: "urn:s", Caller: caller})
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "/callback", nil)
		r.URL.RawQuery = query
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Language", language)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		q := r.URL.Query()
		exact := q.Get("session_uri") == "urn:s" && q.Get("state") == "chat"
		if !exact && w.Code != http.StatusBadRequest {
			t.Errorf("%q: status %d", query, w.Code)
		}
		if w.Code == http.StatusOK && q.Get("error") == "" {
			t.Errorf("%q was granted although the service cannot be reached", query)
		}
	})
}
