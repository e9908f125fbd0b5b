// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
)

// Before an ID token ends it is renewed, once for all requests of a session,
// and the agent gets the new one.
func TestLoginIsRenewed(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(map[string]any{"exp": time.Now().Add(time.Minute).Unix()}, "refresh-1")
	renewed := sign(t, s.provider.claims(map[string]any{"jti": "renewed"}))
	var renewals atomic.Int32
	s.provider.mu.Lock()
	s.provider.token = func(form url.Values) (int, map[string]any) {
		renewals.Add(1)
		if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "refresh-1" || form.Get("client_id") != "client" {
			return 400, map[string]any{"error": "invalid_grant"}
		}
		return 200, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": renewed, "refresh_token": "refresh-2"}
	}
	s.provider.mu.Unlock()
	var got sync.Map
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			UserID string `json:"user_id"`
		}
		readJSON(t, r, &body)
		got.Store(body.UserID, true)
		says("hello")(w, r)
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			status, _, body := b.do(http.MethodPost, "/chat", strings.Replace(hi, "chat-1", fmt.Sprint("chat-", i), 1))
			if status != 200 || !strings.Contains(body, `"completed"`) {
				t.Error(status, body)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), renewals.Load(), "once")
	got.Range(func(token, _ any) bool { require.Equal(t, renewed, token); return true })

	// Signing out ends the new refresh token at the provider.
	status, _, _ := b.do(http.MethodPost, "/logout", "")
	require.Equal(t, 200, status)
	require.Equal(t, []string{"client refresh-2"}, s.provider.revoked)
	status, _, _ = b.do(http.MethodGet, "/me", "")
	require.Equal(t, 401, status)
}

// What a renewal must not do: give the session to another user, go on with an
// ID token that has ended, or ask again and again for what was refused.
func TestRenewalThatFails(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(s *site) (int, map[string]any)
		ask    int32 // how often the provider is asked in two requests
	}{
		"another user": {func(s *site) (int, map[string]any) {
			return 200, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": sign(t, s.provider.claims(map[string]any{"sub": "mallory"})), "refresh_token": "r"}
		}, 2},
		"refused":     {func(*site) (int, map[string]any) { return 400, map[string]any{"error": "invalid_grant"} }, 1},
		"unavailable": {func(*site) (int, map[string]any) { return 503, nil }, 2},
		"no ID token": {func(*site) (int, map[string]any) {
			return 200, map[string]any{"access_token": "a", "token_type": "Bearer", "refresh_token": "r"}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			b := s.browser()
			b.signIn(map[string]any{"exp": time.Now().Add(8 * time.Second).Unix()}, "refresh-1")
			var asked atomic.Int32
			s.provider.mu.Lock()
			s.provider.token = func(url.Values) (int, map[string]any) { asked.Add(1); return tt.answer(s) }
			s.provider.mu.Unlock()
			for range 2 {
				status, _, body := b.do(http.MethodGet, "/me", "")
				require.Equal(t, 200, status, "the old one is still good: %s", body)
				require.Contains(t, body, `"user_id":"alice"`)
			}
			require.Equal(t, tt.ask, asked.Load())
			require.Eventually(t, func() bool {
				status, _, _ := b.do(http.MethodGet, "/me", "")
				return status == 401
			}, 20*time.Second, 200*time.Millisecond, "an ID token that has ended is not used")
		})
	}
}

// A session that nobody uses ends, and one that is used ends in time, too.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *Config) { c.SessionIdle = 3 * time.Second })
	b := s.browser()
	b.signIn(nil, "")
	status := 0
	for range 5 {
		status, _, _ = b.do(http.MethodGet, "/me", "")
		require.Equal(t, 200, status, "it is used")
		time.Sleep(time.Second)
	}
	time.Sleep(2500 * time.Millisecond)
	status, _, _ = b.do(http.MethodGet, "/me", "")
	require.Equal(t, 401, status, "idle")

	s = newSite(t, nil)
	b = s.browser()
	b.signIn(nil, "")
	in, err := s.backend.changeSession(t.Context(), digest(b.cookie(sessionCookie).Value), func(in *session) { in.Begun = time.Now().Add(-sessionLife) })
	require.NoError(t, err)
	require.NotNil(t, in)
	status, _, _ = b.do(http.MethodGet, "/me", "")
	require.Equal(t, 401, status, "absolute")
}

// A login with another identity provider than the configured one is none.
func TestSessionsOfAnotherProviderEnd(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	cfg := s.backend.cfg
	var err error
	cfg.Verifier, err = idtoken.New("https://another.example.com", "client")
	require.NoError(t, err)
	s.server.Config.Handler, err = New(cfg)
	require.NoError(t, err)
	status, _, _ := b.do(http.MethodGet, "/me", "")
	require.Equal(t, 401, status)
}

// An outage of the store is told as such: nobody is signed out by it, and it
// heals.
func TestAStoreThatIsDown(t *testing.T) {
	broken := &failingStore{Memory: store.NewMemory(100)}
	s := newSite(t, func(c *Config) { c.Sessions, c.Logins = broken, broken })
	b := s.browser()
	b.signIn(nil, "")
	q := b.begin()
	broken.down.Store(true)
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/me", ""},
		{"GET", "/auth", ""},
		{"POST", "/chat", hi},
		{"GET", "/chats", ""},
		{"POST", "/logout", ""},
		{"POST", "/callback_for_oauth", `{"code":"c","state":"` + q.Get("state") + `"}`},
		{"GET", "/consent/x", ""},
		{"GET", "/readiness", ""},
	} {
		status, _, body := b.do(tt.method, tt.path, tt.body)
		require.Equal(t, 503, status, "%s: %s", tt.path, body)
		require.NotContains(t, body, "connection refused", "what is down is not the user's business")
	}
	status, _, _ := b.do("GET", "/health", "")
	require.Equal(t, 200, status, "the process itself is well")
	broken.down.Store(false)
	status, _, body := b.do("POST", "/chat", hi)
	require.Equal(t, 200, status)
	require.Contains(t, body, "hello")
	status, _, _ = b.do("GET", "/readiness", "")
	require.Equal(t, 200, status)
}
