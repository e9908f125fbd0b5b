// SPDX-License-Identifier: Apache-2.0

package dingtalk_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools/dingtalk"
	"github.com/agent-identity/agent-identity-go/workload"
)

func TestReadAndWrite(t *testing.T) {
	cloud := identitytest.NewServer(t)
	cloud.ScriptUser("alice", identitytest.Allow)
	cloud.ScriptUser("bob", identitytest.Allow)
	cloud.AddDocument("notes/1?#", "# Plans\nfirst line\n第二行", "alice")
	api, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: api, Name: identitytest.Workload})
	require.NoError(t, err)
	src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.DingTalkProvider, Scopes: []string{"openid"}, CallbackURL: identitytest.DefaultReturnURL,
		OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
	})
	client, err := dingtalk.New(dingtalk.Config{Endpoint: cloud.DingTalkEndpoint(), Document: "notes/1?#", MaxSize: 20})
	require.NoError(t, err)
	read, write := credentials.RequiresOAuth2(src, client.Read), credentials.RequiresOAuth2(src, client.Write)
	alice := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})

	d, err := read(alice, dingtalk.ReadInput{})
	require.NoError(t, err)
	require.Equal(t, dingtalk.Document{DocumentID: "notes/1?#", Text: "# Plans\nfirst line\n", Truncated: true}, d)

	r, err := write(alice, dingtalk.WriteInput{Content: "你好"})
	require.NoError(t, err)
	require.Equal(t, dingtalk.Receipt{DocumentID: "notes/1?#", Written: 6}, r)
	content, ok := cloud.Document("notes/1?#")
	require.True(t, ok)
	require.Equal(t, "你好", content)

	// The ids that a model writes stay ids.
	for _, id := range []string{"../../contact/users/me", "a/b", "x?operatorId=union-bob", "%2e%2e"} {
		_, err := read(alice, dingtalk.ReadInput{DocumentID: id})
		require.ErrorContains(t, err, "docNotFound", id)
	}
	_, err = read(alice, dingtalk.ReadInput{DocumentID: ".."})
	require.ErrorContains(t, err, "no id")
	bob := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("bob")})
	_, err = write(bob, dingtalk.WriteInput{Content: "mine"})
	require.ErrorContains(t, err, "accessDenied")

	// A token that has ended, or of another application, is rejected.
	other := credentials.OAuth2Token{AccessToken: identity.NewSecret("eyJhbGciOiJub25lIn0.e30.")}
	_, err = client.Read(t.Context(), other, dingtalk.ReadInput{})
	require.ErrorIs(t, err, credentials.ErrRejected)
	cloud.Advance(90 * time.Minute)
	alice = identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	_, err = read(alice, dingtalk.ReadInput{})
	require.NoError(t, err, "the vault renews what has ended")
}

func TestFailures(t *testing.T) {
	token := credentials.OAuth2Token{AccessToken: identity.NewSecret("secret-token")}
	for name, c := range map[string]struct {
		status     int
		body, want string
	}{
		"no JSON":      {200, "<html>", "not the JSON"},
		"no user":      {200, "{}", "who the token's user is"},
		"HTML failure": {502, "<html>", "status 502"},
		"a redirect":   {302, "", "status 302"},
		"throttled":    {429, `{"code":"Forbidden.AccessDenied.QpsLimitForApi","message":"slow down","requestid":"r1"}`, "slow down"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		client, err := dingtalk.New(dingtalk.Config{Endpoint: srv.URL})
		require.NoError(t, err)
		_, err = client.Write(t.Context(), token, dingtalk.WriteInput{DocumentID: "d", Content: "c"})
		require.ErrorContains(t, err, c.want, name)
		require.False(t, strings.Contains(err.Error(), "secret-token"))
		srv.Close()
	}
	client, err := dingtalk.New(dingtalk.Config{})
	require.NoError(t, err)
	_, err = client.Read(t.Context(), token, dingtalk.ReadInput{})
	require.ErrorContains(t, err, "document_id")
	_, err = dingtalk.New(dingtalk.Config{Endpoint: "http://api.dingtalk.com"})
	require.ErrorContains(t, err, "want https")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Read(ended, token, dingtalk.ReadInput{DocumentID: "d"})
	require.ErrorIs(t, err, context.Canceled)
}
