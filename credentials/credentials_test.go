// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func newAgent(t testing.TB) (*workload.Agent, *identitytest.Server) {
	t.Helper()
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	return agent, cloud
}

func TestTwentyParallelToolsCold(t *testing.T) {
	agent, cloud := newAgent(t)
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	sts := credentials.NewSTSSource(agent, credentials.STSConfig{})
	tool := credentials.Require(credentials.Both(key, sts),
		func(_ context.Context, cred credentials.Pair[credentials.APIKey, credentials.STSCredential], in int) (string, error) {
			return fmt.Sprint(cred.First.Key.Reveal() != "", cred.Second.AccessKeyID != "", in), nil
		})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			out, err := tool(ctx, i)
			if err != nil || out != fmt.Sprint(true, true, i) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	wg.Wait()
	for _, op := range []string{"GetWorkloadAccessTokenForJWT", "AssumeRoleForWorkloadIdentity", "GetResourceAPIKey"} {
		require.Equal(t, 1, cloud.Count(op), op)
	}
}

func TestUsersDoNotShare(t *testing.T) {
	agent, cloud := newAgent(t)
	sts := credentials.NewSTSSource(agent, credentials.STSConfig{})
	wat := credentials.NewWorkloadTokenSource(agent)
	seen := map[string]string{}
	for _, user := range []string{"alice", "bob", "", "alice\x00", "Alice"} {
		ctx := identity.NewContext(t.Context(), identity.Caller{UserID: user})
		for range 2 {
			s, err := sts.Credential(ctx)
			require.NoError(t, err)
			w, err := wat.Credential(ctx)
			require.NoError(t, err)
			for _, secret := range []string{s.AccessKeyID, w.Token.Reveal()} {
				owner, known := seen[secret]
				require.True(t, !known || owner == user, "%q got what belongs to %q", user, owner)
				seen[secret] = user
			}
		}
	}
	require.Len(t, seen, 10)
	require.Equal(t, 4, cloud.Count("GetWorkloadAccessTokenForUserId"))
}

func TestSourceErrorsKeepTheFunctionOut(t *testing.T) {
	agent, _ := newAgent(t)
	called := false
	tool := credentials.RequiresAPIKey(
		credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "missing"}),
		func(context.Context, credentials.APIKey, string) (string, error) { called = true; return "", nil })
	_, err := tool(t.Context(), "in")
	require.ErrorIs(t, err, identity.ErrNotFound)
	require.ErrorContains(t, err, `"missing"`)
	require.False(t, called)

	for _, err := range []error{
		second(credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{}).Credential(t.Context())),
		second(credentials.NewOAuth2Source(agent, credentials.OAuth2Config{}).Credential(t.Context())),
	} {
		require.ErrorContains(t, err, "Provider is required")
	}
	_, err = credentials.NewOAuth2Source(agent, credentials.OAuth2Config{Provider: "p"}).Credential(t.Context())
	require.ErrorIs(t, err, identity.ErrNoCaller)
	require.Panics(t, func() { credentials.Require[int, int, int](nil, nil) })
}

func second[T any](_ T, err error) error { return err }

func TestRejectedCredentialIsReplacedOnce(t *testing.T) {
	agent, cloud := newAgent(t)
	cloud.AddAPIKeyProvider("rotating", identity.NewSecret("old"))
	src := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "rotating"})
	calls := 0
	tool := credentials.RequiresAPIKey(src, func(_ context.Context, key credentials.APIKey, _ string) (string, error) {
		calls++
		if key.Key.Reveal() != "new" {
			return "", fmt.Errorf("status 401: %w", credentials.ErrRejected)
		}
		return "ok", nil
	})
	_, err := tool(t.Context(), "")
	require.ErrorIs(t, err, credentials.ErrRejected, "once more, not for ever")
	require.Equal(t, 2, calls)

	_, err = src.Credential(t.Context())
	require.NoError(t, err)
	cloud.AddAPIKeyProvider("rotating", identity.NewSecret("new"))
	out, err := tool(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "ok", out)

	// A source that keeps nothing has nothing to drop.
	calls = 0
	plain := credentials.RequiresAPIKey(credentials.SourceFunc[credentials.APIKey](func(context.Context) (credentials.APIKey, error) {
		return credentials.APIKey{}, nil
	}), func(context.Context, credentials.APIKey, string) (string, error) {
		calls++
		return "", credentials.ErrRejected
	})
	_, err = plain(t.Context(), "")
	require.ErrorIs(t, err, credentials.ErrRejected)
	require.Equal(t, 1, calls)
}

// app is what an application does around a consent.
type app struct {
	cloud *identitytest.Server
	agent *workload.Agent
	links chan credentials.Authorization
}

func newApp(t *testing.T) *app {
	agent, cloud := newAgent(t)
	return &app{cloud, agent, make(chan credentials.Authorization, 200)}
}

func (a *app) config() credentials.OAuth2Config {
	return credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{"openid", identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	}
}

func (a *app) waiting() credentials.OAuth2Config {
	cfg := a.config()
	cfg.OnAuthorization = func(_ context.Context, auth credentials.Authorization) error {
		a.links <- auth
		return nil
	}
	return cfg
}

// answer plays the user's browser and the application's callback handler.
func (a *app) answer(t *testing.T, link, user string, decision identitytest.Decision, proof identity.Secret) string {
	t.Helper()
	back, err := a.cloud.Authorize(t.Context(), link, user, decision)
	require.NoError(t, err)
	session := back.Query().Get("session_uri")
	require.NotEmpty(t, session)
	require.Equal(t, identitytest.DefaultReturnURL, (&url.URL{Scheme: back.Scheme, Host: back.Host, Path: back.Path}).String())
	if decision == identitytest.Allow {
		require.NoError(t, a.agent.Client().CompleteResourceTokenAuth(t.Context(), session, identity.UserIdentifier{UserToken: proof}))
	}
	credentials.NotifyAuthorization(session)
	return back.Query().Get("state")
}

func TestConsentWithoutWaiting(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.config())
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token, State: "chat-1"})

	var first *credentials.AuthorizationRequiredError
	_, err := src.Credential(ctx)
	require.ErrorAs(t, err, &first)
	require.Equal(t, identitytest.OAuth2Provider, first.Provider)
	require.NotContains(t, err.Error(), first.URL)
	require.NotContains(t, err.Error(), first.SessionURI)

	// Trying again continues the same session.
	var again *credentials.AuthorizationRequiredError
	_, err = src.Credential(ctx)
	require.ErrorAs(t, err, &again)
	require.Equal(t, first, again)

	require.Equal(t, "chat-1", a.answer(t, first.URL, "alice", identitytest.Allow, token))
	got, err := src.Credential(ctx)
	require.NoError(t, err)
	require.False(t, got.AccessToken.IsZero())
	_, err = src.Credential(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, a.cloud.Count("GetResourceOAuth2Token"), "then it is kept")
	require.Zero(t, a.agent.Stats().OAuth2.Failed, "asking for consent is no failure")
}

func TestGoal10FiftyToolsShareOneConsent(t *testing.T) {
	a := newApp(t)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	tokens := make(chan string, 50)
	for i := range 50 {
		src := credentials.NewOAuth2Source(a.agent, a.waiting()) // each tool has its own
		c := ctx
		if i%2 == 1 { // and half of the calls come with a renewed ID token
			c = identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")})
		}
		go func() {
			got, err := src.Credential(c)
			if err != nil {
				t.Error(err)
			}
			tokens <- got.AccessToken.Reveal()
		}()
	}
	first := <-a.links
	for range 25 { // 25 calls wait with one ctx, which is told once
		auth := <-a.links
		require.Equal(t, first.URL, auth.URL)
		require.Equal(t, first.SessionURI, auth.SessionURI)
	}
	a.answer(t, first.URL, "alice", identitytest.Allow, first.Caller.UserToken)
	one := <-tokens
	require.NotEmpty(t, one)
	for range 49 {
		require.Equal(t, one, <-tokens)
	}
	require.Empty(t, a.links)
}

func TestRefusedConsent(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.waiting())
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	auth := <-a.links
	a.answer(t, auth.URL, "alice", identitytest.Deny, token)
	require.ErrorIs(t, <-done, credentials.ErrAuthorizationDenied)

	// The next call asks anew, with another link.
	go func() { _, err := src.Credential(ctx); done <- err }()
	next := <-a.links
	require.NotEqual(t, auth.URL, next.URL)
	a.answer(t, next.URL, "alice", identitytest.Allow, token)
	require.NoError(t, <-done)
}

// Without a notification the poll finds out.
func TestPollingIsEnough(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.waiting())
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	auth := <-a.links
	back, err := a.cloud.Authorize(t.Context(), auth.URL, "alice", identitytest.Allow)
	require.NoError(t, err)
	require.NoError(t, a.agent.Client().CompleteResourceTokenAuth(t.Context(), back.Query().Get("session_uri"), identity.UserIdentifier{UserToken: token}))
	require.NoError(t, <-done)
}

func TestConsentTimesOut(t *testing.T) {
	a := newApp(t)
	cfg := a.waiting()
	cfg.Timeout = 30 * time.Millisecond
	src := credentials.NewOAuth2Source(a.agent, cfg)
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")})
	_, err := src.Credential(ctx)
	require.ErrorIs(t, err, credentials.ErrAuthorizationTimeout)
	first := <-a.links
	_, err = src.Credential(ctx)
	require.ErrorIs(t, err, credentials.ErrAuthorizationTimeout)
	require.Equal(t, first.URL, (<-a.links).URL, "the link is still good")

	// The session expires at the service.
	a.cloud.Advance(11 * time.Minute)
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	require.NotEqual(t, first.URL, (<-a.links).URL, "an expired session is replaced")
	require.ErrorIs(t, <-done, credentials.ErrAuthorizationTimeout)
}

// A session that the service has forgotten is replaced, not asked for again
// and again.
func TestAForgottenSessionIsReplaced(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.config())
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")})
	var first, second *credentials.AuthorizationRequiredError
	_, err := src.Credential(ctx)
	require.ErrorAs(t, err, &first)
	a.cloud.Advance(3 * time.Hour)
	bob := identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("bob")})
	_, err = src.Credential(bob) // sweeps what is long over
	require.ErrorAs(t, err, &second)
	ctx = identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")})
	_, err = src.Credential(ctx)
	require.ErrorAs(t, err, &second)
	require.NotEqual(t, first.URL, second.URL)
	forgotten := 0
	for _, c := range a.cloud.Calls() {
		if c.Code == "EntityNotExists.Session" {
			forgotten++
		}
	}
	require.Equal(t, 1, forgotten)
}

func TestConsentObeysItsContext(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.waiting())
	ctx, cancel := context.WithCancel(identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")}))
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	<-a.links
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	cfg := a.config()
	boom := errors.New("the chat is closed")
	cfg.OnAuthorization = func(context.Context, credentials.Authorization) error { return boom }
	_, err := credentials.NewOAuth2Source(a.agent, cfg).Credential(identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")}))
	require.ErrorIs(t, err, boom)
}

func TestAnotherUserNeverSeesTheConsent(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.config())
	link := func(c identity.Caller) *credentials.AuthorizationRequiredError {
		var required *credentials.AuthorizationRequiredError
		_, err := src.Credential(identity.NewContext(t.Context(), c))
		require.ErrorAs(t, err, &required)
		return required
	}
	aliceToken, bobToken := a.cloud.IDToken("alice"), a.cloud.IDToken("bob")
	alice, bob := link(identity.Caller{UserToken: aliceToken}), link(identity.Caller{UserToken: bobToken})
	byID := link(identity.Caller{UserID: "alice"})
	require.NotEqual(t, alice.URL, bob.URL)
	require.NotEqual(t, alice.URL, byID.URL)

	// A token that only claims to be Alice's gets nothing.
	forged := identity.NewSecret(aliceToken.Reveal()[:len(aliceToken.Reveal())-8] + "AAAAAAAA")
	require.Equal(t, identity.Caller{UserToken: aliceToken}.Subject(), identity.Caller{UserToken: forged}.Subject())
	_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserToken: forged}))
	require.ErrorIs(t, err, identity.ErrInvalidUserToken)

	// Bob cannot confirm Alice's session, nor another token of hers.
	back, err := a.cloud.Authorize(t.Context(), alice.URL, "alice", identitytest.Allow)
	require.NoError(t, err)
	session := back.Query().Get("session_uri")
	for _, proof := range []identity.UserIdentifier{{UserToken: bobToken}, {UserToken: a.cloud.IDToken("alice")}, {UserID: "alice"}, {}} {
		err := a.agent.Client().CompleteResourceTokenAuth(t.Context(), session, proof)
		require.ErrorIs(t, err, identity.ErrAccessDenied)
	}
	confirm := func() error {
		return a.agent.Client().CompleteResourceTokenAuth(t.Context(), session, identity.UserIdentifier{UserToken: aliceToken})
	}
	require.NoError(t, confirm())
	require.Error(t, confirm(), "a session is confirmed once")
	_, err = src.Credential(identity.NewContext(t.Context(), identity.Caller{UserToken: aliceToken}))
	require.NoError(t, err)
	require.Equal(t, bob.URL, link(identity.Caller{UserToken: bobToken}).URL, "Bob still has to consent")
}

func TestReturnURLMustBeAllowed(t *testing.T) {
	a := newApp(t)
	cfg := a.config()
	cfg.CallbackURL = "https://attacker.example.com/callback"
	_, err := credentials.NewOAuth2Source(a.agent, cfg).Credential(identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("alice")}))
	require.ErrorContains(t, err, "AllowedResourceOAuth2ReturnURLs")
}

func BenchmarkDecoratedCall(b *testing.B) {
	agent, cloud := newAgent(b)
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	var n atomic.Int64
	bare := func(_ context.Context, in int64) (int64, error) { return n.Add(in), nil }
	tool := credentials.RequiresAPIKey(key, func(ctx context.Context, _ credentials.APIKey, in int64) (int64, error) { return bare(ctx, in) })
	ctx := identity.NewContext(b.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	for name, f := range map[string]func(context.Context, int64) (int64, error){"bare": bare, "decorated": tool} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f(ctx, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
