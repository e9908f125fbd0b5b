// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// wait lets a tool of caller wait for a consent that browser was asked for. done
// gets how the waiting ended.
func (s *site) wait(t *testing.T, browser string, caller identity.Caller) (a credentials.Authorization, id string, done chan error) {
	t.Helper()
	asked := make(chan credentials.Authorization, 1)
	cfg := s.config()
	cfg.OnAuthorization = func(_ context.Context, a credentials.Authorization) error { asked <- a; return nil }
	done = make(chan error, 1)
	go func() {
		_, err := credentials.NewOAuth2Source(s.agent, cfg).Credential(identity.NewContext(t.Context(), caller))
		done <- err
	}()
	a = <-asked
	id, err := s.handler.Expect(t.Context(), s.logins[browser], a)
	require.NoError(t, err)
	return a, id, done
}

// "Not now" ends the waiting tool as refused, here and through the store, for
// the one who was asked only, and nothing can be granted by that link any more.
func TestDecline(t *testing.T) {
	shared := &bus{listening: map[chan string]bool{}}
	s := newSite(t, shared)
	caller := s.signIn("phone", "alice")
	s.signIn("bob's", "bob")
	a, id, done := s.wait(t, "phone", caller)
	request := func(browser string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/consent/"+id+"/decline", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: browser})
		return r
	}
	for _, browser := range []string{"", "bob's"} {
		_, err := s.handler.Decline(request(browser), id)
		require.ErrorIs(t, err, credentials.ErrNotPending)
	}
	select {
	case err := <-done:
		t.Fatal("ended by somebody else:", err)
	default:
	}
	got, err := s.handler.Decline(request("phone"), id)
	require.NoError(t, err)
	require.Equal(t, a.Provider, got.Provider)
	require.ErrorIs(t, <-done, credentials.ErrAuthorizationDenied)
	require.Equal(t, []string{"declined/" + id}, shared.told)
	_, err = s.handler.Decline(request("phone"), id)
	require.ErrorIs(t, err, credentials.ErrNotPending, "once")
	back := s.decide(t, a.URL, "alice", identitytest.Allow)
	require.Equal(t, 400, s.open("phone", back).Code, "the link is used up")
}

// In a process of its own, "not now" is for the user's own waiting alone.
func TestDeclineAuthorization(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.signIn("phone", "alice"), s.signIn("bob's", "bob")
	_, id, done := s.wait(t, "phone", alice)
	require.False(t, credentials.DeclineAuthorization(bob, id))
	require.False(t, credentials.DeclineAuthorization(identity.Caller{}, id))
	require.False(t, credentials.DeclineAuthorization(alice, "another"))
	require.True(t, credentials.DeclineAuthorization(alice, id))
	require.ErrorIs(t, <-done, credentials.ErrAuthorizationDenied)
	require.False(t, credentials.DeclineAuthorization(alice, id))
}

// "Not now" said to another process ends the waiting here at once.
func TestDeclinedInAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		agent := service.agent(t)
		defer agent.Close()
		shared := &bus{listening: map[chan string]bool{}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = credentials.ListenAuthorizations(ctx, shared) }()
		src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "docs", OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
		})
		done := make(chan error, 1)
		go func() {
			_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserID: "u"}))
			done <- err
		}()
		time.Sleep(20 * time.Second)
		begun := time.Now()
		sum := sha256.Sum256([]byte("urn:1"))
		require.NoError(t, shared.Notify(ctx, "declined/"+base64.RawURLEncoding.EncodeToString(sum[:])))
		require.ErrorIs(t, <-done, credentials.ErrAuthorizationDenied)
		require.Zero(t, time.Since(begun), "at once")
	})
}
