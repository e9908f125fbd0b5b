// SPDX-License-Identifier: Apache-2.0

package tokensource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/credentials/tokensource"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func TestTokenSource(t *testing.T) {
	cloud := identitytest.NewServer(t)
	cloud.ScriptUser("alice", identitytest.Allow)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	defer agent.Close()
	src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
		OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
	})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer resource.Close()
	resp, err := oauth2.NewClient(ctx, tokensource.New(ctx, src)).Get(resource.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	sent, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	token, err := src.Credential(ctx)
	require.NoError(t, err)
	require.Equal(t, "Bearer "+token.AccessToken.Reveal(), string(sent))
	got, err := tokensource.New(ctx, src).Token()
	require.NoError(t, err)
	require.True(t, got.Valid())
	require.WithinDuration(t, time.Now().Add(credentials.DefaultOAuth2Life), got.Expiry, 30*time.Second)

	_, err = tokensource.New(t.Context(), src).Token()
	require.ErrorIs(t, err, identity.ErrNoCaller)
}

// The clients of oauth2 keep tokens themselves: not longer than the source does.
func TestReuseEndsWithTheSource(t *testing.T) {
	for _, kept := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			src := credentials.SourceFunc[credentials.OAuth2Token](func(context.Context) (credentials.OAuth2Token, error) {
				if n++; n > 3 {
					return credentials.OAuth2Token{}, errors.New("revoked")
				}
				token := credentials.OAuth2Token{AccessToken: identity.NewSecret(fmt.Sprint("token-", n))}
				if kept > 0 {
					token.Expires = time.Now().Add(kept)
				}
				return token, nil
			})
			reused := oauth2.ReuseTokenSource(nil, tokensource.New(t.Context(), src))
			for want := 1; want <= 3; want++ {
				for range map[bool]int{true: 1, false: 5}[kept == 0] {
					token, err := reused.Token()
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint("token-", want), token.AccessToken)
				}
				time.Sleep(kept)
			}
			_, err := reused.Token()
			require.ErrorContains(t, err, "revoked")
		})
	}
}
