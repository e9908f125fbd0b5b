// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// rotating is a source whose token changes when it is rejected.
type rotating struct {
	mu       sync.Mutex
	n        int
	err      error
	rejected []string
}

func (r *rotating) Credential(ctx context.Context) (credentials.OAuth2Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, _ := identity.FromContext(ctx)
	return credentials.OAuth2Token{AccessToken: identity.NewSecret(fmt.Sprint(c.UserID, "-", r.n))}, r.err
}

func (r *rotating) Reject(_ context.Context, token credentials.OAuth2Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected = append(r.rejected, token.AccessToken.Reveal())
	r.n++
}

func post(t *testing.T, client *http.Client, address, user, body string) (string, error) {
	t.Helper()
	ctx := identity.NewContext(t.Context(), identity.Caller{UserID: user})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return fmt.Sprint(resp.StatusCode, " ", string(b)), nil
}

func TestTransport(t *testing.T) {
	var elsewhere http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere = r.Header.Clone()
		_, _ = io.WriteString(w, "elsewhere")
	}))
	defer other.Close()
	accept := "alice-0"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/x", http.StatusTemporaryRedirect)
		case r.Header.Get("Authorization") != "Bearer "+accept && accept != "*":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprintf(w, "%s %s", r.Header.Get("Authorization"), body)
		}
	}))
	defer srv.Close()
	host, err := url.Parse(srv.URL)
	require.NoError(t, err)
	src := &rotating{}
	client := &http.Client{Transport: &credentials.Transport[credentials.OAuth2Token]{Source: src, Hosts: []string{host.Host}}}

	got, err := post(t, client, srv.URL, "alice", "hello")
	require.NoError(t, err)
	require.Equal(t, "200 Bearer alice-0 hello", got)

	// Each request acts for its own caller.
	accept = "*"
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			user := fmt.Sprint("user", i%5)
			got, err := post(t, client, srv.URL, user, "x")
			if err != nil || !strings.Contains(got, "Bearer "+user+"-") {
				t.Errorf("%s: %q, %v", user, got, err)
			}
		})
	}
	wg.Wait()

	// Rejected: that one is dropped, and the body is sent again, once.
	accept = "alice-1"
	got, err = post(t, client, srv.URL, "alice", "again")
	require.NoError(t, err)
	require.Equal(t, "200 Bearer alice-1 again", got)
	require.Equal(t, []string{"alice-0"}, src.rejected)
	accept = "never"
	got, err = post(t, client, srv.URL, "alice", "x")
	require.NoError(t, err)
	require.Equal(t, "401 ", got)
	require.Len(t, src.rejected, 2)

	// A redirect to another host takes no token along.
	got, err = post(t, client, srv.URL+"/redirect", "alice", "x")
	require.NoError(t, err)
	require.Equal(t, "200 elsewhere", got)
	require.Empty(t, elsewhere.Get("Authorization"))

	// The source's error is found behind http.Client's, and nothing was sent.
	src.err = &credentials.AuthorizationRequiredError{Provider: "p"}
	_, err = post(t, client, srv.URL, "alice", "x")
	_, ok := errors.AsType[*credentials.AuthorizationRequiredError](err)
	require.True(t, ok)
}

func TestTransportRefuses(t *testing.T) {
	src := &rotating{}
	for name, tt := range map[string]struct {
		transport http.RoundTripper
		address   string
	}{
		"plain http":   {&credentials.Transport[credentials.OAuth2Token]{Source: src, Hosts: []string{"api.example.com"}}, "http://api.example.com/"},
		"no source":    {&credentials.Transport[credentials.OAuth2Token]{Hosts: []string{"127.0.0.1"}}, "https://127.0.0.1/"},
		"no hosts":     {&credentials.Transport[credentials.OAuth2Token]{Source: src}, "https://127.0.0.1/"},
		"no authorize": {&credentials.Transport[int]{Source: credentials.SourceFunc[int](func(context.Context) (int, error) { return 0, nil }), Hosts: []string{"127.0.0.1"}}, "https://127.0.0.1/"},
	} {
		_, err := post(t, &http.Client{Transport: tt.transport}, tt.address, "alice", "x")
		require.ErrorContains(t, err, "credentials: ", name)
	}
}

func TestAlibabaCredential(t *testing.T) {
	agent, cloud := newAgent(t)
	src := credentials.NewSTSSource(agent, credentials.STSConfig{})
	of := func(user string) string {
		cred := credentials.AlibabaCredential(identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken(user)}), src)
		m, err := cred.GetCredential()
		require.NoError(t, err)
		require.Equal(t, "sts", *cred.GetType())
		//lint:ignore SA1019 still part of the interface
		for _, get := range []func() (*string, error){cred.GetAccessKeyId, cred.GetAccessKeySecret, cred.GetSecurityToken} {
			v, err := get()
			require.NoError(t, err)
			require.NotEmpty(t, *v)
		}
		// It signs calls of a client of its own, as any base credential.
		cfg := cloud.ClientConfig()
		cfg.Credential = cred
		client, err := identity.New(cfg)
		require.NoError(t, err)
		_, err = client.GetWorkloadAccessToken(t.Context(), identitytest.Workload)
		require.ErrorIs(t, err, identity.ErrAccessDenied, "signed by the role, which may not do this")
		return *m.AccessKeyId
	}
	require.NotEqual(t, of("alice"), of("bob"))
	nobody := credentials.AlibabaCredential(t.Context(), credentials.SourceFunc[credentials.STSCredential](func(context.Context) (credentials.STSCredential, error) {
		return credentials.STSCredential{}, identity.ErrNoCaller
	}))
	//lint:ignore SA1019 still part of the interface
	_, err := nobody.GetAccessKeyId()
	require.ErrorIs(t, err, identity.ErrNoCaller)
}
