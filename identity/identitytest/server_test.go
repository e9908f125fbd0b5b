// SPDX-License-Identifier: Apache-2.0

package identitytest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func newAgent(t testing.TB, cloud *identitytest.Server) *workload.Agent {
	t.Helper()
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	t.Cleanup(agent.Close)
	return agent
}

func TestScriptedUsers(t *testing.T) {
	cloud := identitytest.NewServer(t)
	agent := newAgent(t, cloud)
	source := func(links chan<- credentials.Authorization) *credentials.OAuth2Source {
		return credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
			OnAuthorization: func(_ context.Context, a credentials.Authorization) error { links <- a; return nil },
		})
	}
	links := make(chan credentials.Authorization, 10)
	src := source(links)

	cloud.ScriptUser("alice", identitytest.Allow)
	for _, caller := range []identity.Caller{{UserToken: cloud.IDToken("alice")}, {UserID: "alice"}} {
		token, err := src.Credential(identity.NewContext(t.Context(), caller))
		require.NoError(t, err)
		require.False(t, token.AccessToken.IsZero())
		<-links
	}

	bob := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("bob")})
	cloud.ScriptUser("bob", identitytest.Deny)
	_, err := src.Credential(bob)
	require.ErrorIs(t, err, credentials.ErrAuthorizationDenied)
	<-links

	cloud.ScriptUser("bob", identitytest.Ignore)
	ctx, cancel := context.WithCancel(bob)
	done := make(chan error, 1)
	go func() { _, err := src.Credential(ctx); done <- err }()
	session := (<-links).SessionURI
	require.NoError(t, cloud.WaitUntilPolled(t.Context(), session))
	require.NoError(t, cloud.WaitUntilPolled(t.Context(), session), "the next one")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Panics(t, func() { cloud.ScriptUser("nobody", identitytest.Allow) })

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, cloud.WaitUntilPolled(short, session), context.DeadlineExceeded)
	require.ErrorContains(t, cloud.WaitForCalls(short, "GetResourceAPIKey", 2), "saw 0")
	require.NoError(t, cloud.WaitForCalls(t.Context(), "GetWorkloadAccessTokenForJWT", 2, "alice", "bob"))
}

func TestParametersAreRecordedWithoutSecrets(t *testing.T) {
	cloud := identitytest.NewServer(t)
	agent := newAgent(t, cloud)
	token := cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token, State: "chat-1"})
	_, err := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	}).Credential(ctx)
	required := new(credentials.AuthorizationRequiredError)
	require.ErrorAs(t, err, &required)
	_ = agent.Client().CompleteResourceTokenAuth(ctx, required.SessionURI, identity.UserIdentifier{UserToken: token})
	workloadToken, err := agent.Token(ctx)
	require.NoError(t, err)

	for _, call := range cloud.Calls() {
		text := fmt.Sprint(call)
		for name, secret := range map[string]string{"workload token": workloadToken.Reveal(), "user token": token.Reveal()} {
			require.NotContains(t, text, secret, "%s in %s", name, call.Op)
		}
		if call.Op == "GetResourceOAuth2Token" {
			require.Equal(t, map[string]string{
				"WorkloadAccessToken": "[REDACTED]", "ResourceCredentialProviderName": identitytest.OAuth2Provider, "OAuth2Flow": "USER_FEDERATION",
				"Scopes": `["time:read"]`, "ResourceOAuth2ReturnURL": identitytest.DefaultReturnURL, "ForceAuthentication": "false", "CustomState": "chat-1",
			}, call.Params)
		}
	}
	require.Equal(t, 1, cloud.Count("GetResourceOAuth2Token", "alice"))
}

// Each test has a cloud of its own, so that they run in parallel.
func TestOneHundredClouds(t *testing.T) {
	const n = 100
	var wg sync.WaitGroup
	urls := make([]string, n)
	for i := range n {
		wg.Go(func() {
			cloud := identitytest.NewServer(t)
			urls[i] = cloud.URL()
			agent := newAgent(t, cloud)
			user := []string{"alice", "bob"}[i%2]
			key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
			ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken(user)})
			if _, err := key.Credential(ctx); err != nil {
				t.Error(err)
			}
			if got := cloud.Count("GetResourceAPIKey"); got != 1 || cloud.Count("GetResourceAPIKey", user) != 1 {
				t.Errorf("%d calls: clouds are not apart", got)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, u := range urls {
		require.False(t, seen[u])
		seen[u] = true
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:0":      "only loopback addresses",
		"192.0.2.1:9000": "only loopback addresses",
		"9000":           "host:port",
	} {
		_, err := identitytest.Start(identitytest.Config{Addr: addr})
		require.ErrorContains(t, err, want, addr)
	}
	for _, address := range []string{"localhost:9000", "http://localhost:9000/path", "ftp://localhost", "http://"} {
		_, err := identitytest.Start(identitytest.Config{URL: address})
		require.ErrorContains(t, err, "scheme and host alone", address)
	}
	_, err := identitytest.Start(identitytest.Config{Users: []identitytest.User{{}}})
	require.ErrorContains(t, err, "Subject")

	// Told otherwise, it is what it is told to be.
	cloud, err := identitytest.Start(identitytest.Config{URL: "https://cloud.example.com"})
	require.NoError(t, err)
	defer func() { require.NoError(t, cloud.Close(context.Background())) }()
	require.True(t, strings.HasPrefix(cloud.Issuer(), "https://cloud.example.com/"))
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		cloud, err := identitytest.Start(identitytest.Config{})
		if err != nil {
			b.Fatal(err)
		}
		if err := cloud.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
