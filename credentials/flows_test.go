// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func TestOnBehalfOf(t *testing.T) {
	agent, cloud := newAgent(t)
	cloud.AddOnBehalfOfProvider("downstream", []string{"api://orders"}, "orders:read")
	cfg := credentials.OAuth2Config{Provider: "downstream", Flow: identity.FlowOnBehalfOf, Audience: "api://orders", Scopes: []string{"orders:read"}}
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	src := credentials.NewOAuth2Source(agent, cfg)
	token, err := src.Credential(ctx)
	require.NoError(t, err)
	end := identity.JWTExpiry(token.AccessToken)
	require.WithinDuration(t, time.Now().Add(20*time.Minute), end, time.Minute)
	_, err = src.Credential(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, cloud.Count("GetResourceOAuth2Token"))

	for name, c := range map[string]struct {
		caller identity.Caller
		change func(*credentials.OAuth2Config)
		want   string
	}{
		"no audience":           {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Audience = "" }, "MissingParameter.Audience"},
		"audience of another":   {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Audience = "api://salaries" }, "InvalidParameter.Audience"},
		"user id only":          {identity.Caller{UserID: "bob"}, func(*credentials.OAuth2Config) {}, "made with the user's JWT"},
		"the flow of others":    {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Flow = "" }, "InvalidParameter.OAuth2Flow"},
		"a flow of the future":  {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Flow = "NEXT" }, "InvalidParameter.OAuth2Flow"},
		"a provider of another": {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Provider = identitytest.OAuth2Provider }, "InvalidParameter.OAuth2Flow"},
		"a scope of another":    {identity.Caller{UserToken: cloud.IDToken("bob")}, func(c *credentials.OAuth2Config) { c.Scopes = []string{"orders:write"} }, "invalid_scope"},
	} {
		other := cfg
		c.change(&other)
		_, err := credentials.NewOAuth2Source(agent, other).Credential(identity.NewContext(t.Context(), c.caller))
		require.ErrorContains(t, err, c.want, name)
	}
	require.Equal(t, "NEXT", cloud.Calls()[slices.IndexFunc(cloud.Calls(), func(c identitytest.Call) bool { return c.Params["OAuth2Flow"] == "NEXT" })].Params["OAuth2Flow"])
}

// Without session binding neither a return URL nor a confirmation is needed.
func TestSessionBindingOff(t *testing.T) {
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	_, err = client.CreateWorkloadIdentity(t.Context(), &identity.CreateWorkloadIdentityRequest{
		Name: "unbound", IdentityProvider: identitytest.IdentityProvider, CreateRAMRole: new(true), SessionBindingEnabled: new(false),
	})
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: "unbound"})
	require.NoError(t, err)
	links := make(chan credentials.Authorization, 1)
	cfg := credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope},
		OnAuthorization: func(_ context.Context, a credentials.Authorization) error { links <- a; return nil },
	}
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	done := make(chan error, 1)
	go func() { _, err := credentials.NewOAuth2Source(agent, cfg).Credential(ctx); done <- err }()
	auth := <-links
	_, err = cloud.Authorize(t.Context(), auth.URL, "alice", identitytest.Allow)
	require.ErrorContains(t, err, "without a form", "the last page is the service's own")
	credentials.NotifyAuthorization(auth.SessionURI)
	require.NoError(t, <-done)
	require.Zero(t, cloud.Count("CompleteResourceTokenAuth"))

	cloud.AddOnBehalfOfProvider("downstream", []string{"api://orders"})
	_, err = credentials.NewOAuth2Source(agent, credentials.OAuth2Config{Provider: "downstream", Flow: identity.FlowOnBehalfOf, Audience: "api://orders"}).Credential(ctx)
	require.ErrorContains(t, err, "session binding")
}

func TestForceAuthentication(t *testing.T) {
	a := newApp(t)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	plain := credentials.NewOAuth2Source(a.agent, a.config())
	var required *credentials.AuthorizationRequiredError
	_, err := plain.Credential(ctx)
	require.ErrorAs(t, err, &required)
	a.answer(t, required.URL, "alice", identitytest.Allow, token)
	_, err = plain.Credential(ctx)
	require.NoError(t, err)

	cfg := a.config()
	cfg.ForceAuthentication = true
	cfg.CustomParameters = map[string]string{"login_hint": "alice"}
	forced := credentials.NewOAuth2Source(a.agent, cfg)
	_, err = forced.Credential(ctx)
	require.ErrorAs(t, err, &required, "although a token is stored")
	a.answer(t, required.URL, "alice", identitytest.Allow, token)
	_, err = forced.Credential(ctx)
	require.NoError(t, err, "once, not for ever")
	var sent []string
	for _, c := range a.cloud.Calls() {
		if c.Op == "GetResourceOAuth2Token" && c.Params["CustomParameters"] == `{"login_hint":"alice"}` {
			sent = append(sent, c.Params["ForceAuthentication"]+" "+map[bool]string{true: "poll", false: "first"}[c.Params["SessionURI"] != ""])
		}
	}
	require.Equal(t, []string{"true first", "false poll"}, sent)
}

// More scopes are asked for beside those that were granted before, which stay.
func TestStepUp(t *testing.T) {
	a := newApp(t)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	source := func(scopes ...string) *credentials.OAuth2Source {
		cfg := a.config()
		cfg.Scopes, cfg.Life = scopes, new(time.Duration(0))
		return credentials.NewOAuth2Source(a.agent, cfg)
	}
	var first, second *credentials.AuthorizationRequiredError
	_, err := source("openid").Credential(ctx)
	require.ErrorAs(t, err, &first)
	a.answer(t, first.URL, "alice", identitytest.Allow, token)
	_, err = source("openid").Credential(ctx)
	require.NoError(t, err)

	_, err = source(identitytest.TimeScope).Credential(ctx)
	require.ErrorAs(t, err, &second)
	require.Equal(t, []string{identitytest.TimeScope}, second.Scopes)
	a.answer(t, second.URL, "alice", identitytest.Allow, token)
	for _, scopes := range [][]string{{identitytest.TimeScope}, {"openid"}, {"openid", identitytest.TimeScope}} {
		_, err = source(scopes...).Credential(ctx)
		require.NoError(t, err, "%v: the grant has both now", scopes)
	}
}

// Who was given a link and comes back after the user refused is told so, once.
func TestRefusalIsToldOnce(t *testing.T) {
	a := newApp(t)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	src := credentials.NewOAuth2Source(a.agent, a.config())
	var first, second *credentials.AuthorizationRequiredError
	_, err := src.Credential(ctx)
	require.ErrorAs(t, err, &first)
	a.answer(t, first.URL, "alice", identitytest.Deny, token)
	_, err = src.Credential(ctx)
	require.ErrorIs(t, err, credentials.ErrAuthorizationDenied)
	_, err = src.Credential(ctx)
	require.ErrorAs(t, err, &second)
	require.NotEqual(t, first.URL, second.URL)
}

// A session that another process began, or this one before it was started anew,
// is gone on with.
func TestResume(t *testing.T) {
	a := newApp(t)
	restarted, err := workload.New(workload.Config{Client: a.agent.Client(), Name: identitytest.Workload})
	require.NoError(t, err)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	var required, again *credentials.AuthorizationRequiredError
	_, err = credentials.NewOAuth2Source(a.agent, a.config()).Credential(ctx)
	require.ErrorAs(t, err, &required)

	src := credentials.NewOAuth2Source(restarted, a.config())
	_, err = src.Resume(ctx, required.SessionURI)
	require.ErrorAs(t, err, &again, "nobody has answered yet")
	require.Equal(t, required.SessionURI, again.SessionURI)
	require.Equal(t, required.URL, again.URL, "as the service tells it")
	a.answer(t, required.URL, "alice", identitytest.Allow, token)
	got, err := src.Resume(ctx, required.SessionURI)
	require.NoError(t, err)
	require.False(t, got.AccessToken.IsZero())

	// Somebody else's session is worth nothing, and neither is an old one.
	bob := identity.NewContext(t.Context(), identity.Caller{UserToken: a.cloud.IDToken("bob")})
	for _, session := range []string{required.SessionURI, "urn:x"} {
		_, err = credentials.NewOAuth2Source(restarted, a.config()).Resume(bob, session)
		require.ErrorAs(t, err, &again)
		require.NotEqual(t, session, again.SessionURI, "a session of his own")
	}
	_, err = src.Resume(t.Context(), required.SessionURI)
	require.ErrorIs(t, err, identity.ErrNoCaller)
}

// The user's ID token ends while a tool waits; a newer one, which came with
// another call, goes on with the same consent.
func TestIDTokenRenewedDuringTheWait(t *testing.T) {
	a := newApp(t)
	src := credentials.NewOAuth2Source(a.agent, a.waiting())
	wait := func(token identity.Secret) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserToken: token}))
			done <- err
		}()
		return done
	}
	oldToken := a.cloud.IDToken("alice")
	first := wait(oldToken)
	auth := <-a.links
	a.cloud.Advance(5 * time.Minute) // workload tokens end, so that the poll needs the ID token
	newToken := a.cloud.IDToken("alice")
	second := wait(newToken)
	require.Equal(t, auth.SessionURI, (<-a.links).SessionURI)

	back, err := a.cloud.Authorize(t.Context(), auth.URL, "alice", identitytest.Allow)
	require.NoError(t, err)
	require.NoError(t, a.agent.Client().CompleteResourceTokenAuth(t.Context(), back.Query().Get("session_uri"), identity.UserIdentifier{UserToken: auth.Caller.UserToken}))
	a.cloud.Advance(57 * time.Minute) // the first ID token has ended, the second has not
	a.agent.Purge()
	credentials.NotifyAuthorization(auth.SessionURI)
	require.NoError(t, <-second)
	require.NoError(t, <-first)

	// With nobody left who has a valid one, each who waits is told.
	expired := a.waiting()
	expired.Scopes = []string{"profile"}
	src = credentials.NewOAuth2Source(a.agent, expired)
	done := wait(newToken)
	auth = <-a.links
	a.cloud.Advance(time.Hour)
	a.agent.Purge()
	credentials.NotifyAuthorization(auth.SessionURI)
	require.ErrorIs(t, <-done, identity.ErrInvalidUserToken)
}
