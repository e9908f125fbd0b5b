// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
)

const mark = "planted-mark-7f3a"

func TestSecretsDoNotShow(t *testing.T) {
	type inner struct{ hidden identity.Secret }
	type outer struct {
		Open   identity.Secret
		Ptr    *identity.Secret
		List   []identity.Secret
		Map    map[string]identity.Secret
		Nested inner
		STS    identity.STSCredentials
		Caller identity.Caller
	}
	s := identity.NewSecret(mark)
	v := outer{
		Open: s, Ptr: &s, List: []identity.Secret{s}, Map: map[string]identity.Secret{"k": s}, Nested: inner{s},
		STS: identity.STSCredentials{AccessKeySecret: s, SecurityToken: s}, Caller: identity.Caller{UserToken: s},
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%10v", "%-5s", "% x"} {
		for _, x := range []any{s, &s, v, &v, []any{v}, fmt.Errorf("wrapped %v", v)} {
			fmt.Fprintf(&out, verb, x)
		}
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	out.Write(b)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "v", v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "v", v)
	ctx := identity.NewContext(t.Context(), v.Caller)
	fmt.Fprintf(&out, "%v %+v", ctx, ctx)
	text := out.String()
	require.NotContains(t, text, mark)
	require.NotContains(t, text, fmt.Sprintf("%x", mark))
	require.Contains(t, text, "[REDACTED]")

	require.Equal(t, mark, s.Reveal())
	require.True(t, s.Equal(identity.NewSecret(mark)))
	require.False(t, s.Equal(identity.Secret{}))
	require.True(t, identity.NewSecret("").IsZero())
}

func jwtOf(claims string) identity.Secret {
	return identity.NewSecret("h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s")
}

func TestCallerKeys(t *testing.T) {
	old := identity.Caller{UserToken: jwtOf(`{"iss":"i","sub":"s","exp":1000}`)}
	renewed := identity.Caller{UserToken: jwtOf(`{"iss":"i","sub":"s","exp":2000}`)}
	require.NotEqual(t, old.Key(), renewed.Key())
	require.Equal(t, old.Subject(), renewed.Subject())
	require.Equal(t, time.Unix(1000, 0), old.TokenExpiry())

	distinct := []identity.Caller{
		{},
		old,
		{UserToken: jwtOf(`{"iss":"is","sub":""}`)},
		{UserToken: jwtOf(`{"iss":"","sub":"is"}`)},
		{UserToken: jwtOf(`{"iss":"i","sub":"s2"}`)},
		{UserToken: jwtOf(`{"iss":"i2","sub":"s"}`)},
		{UserID: "s"},
		{UserID: "S"},
		{UserID: "s\x00"},
		{UserID: "ѕ"}, // Cyrillic
		{UserID: old.UserToken.Reveal()},
		{UserToken: identity.NewSecret("not a jwt")},
		{UserToken: identity.NewSecret("a.b.c")},
	}
	keys, subjects := map[identity.CallerKey]int{}, map[identity.CallerKey]int{}
	for i, c := range distinct {
		got, found := identity.FromContext(identity.NewContext(t.Context(), c))
		require.True(t, found)
		for _, k := range []struct {
			m map[identity.CallerKey]int
			k identity.CallerKey
		}{{keys, got.Key()}, {subjects, got.Subject()}} {
			j, dup := k.m[k.k]
			require.False(t, dup, "callers %d and %d share a key", i, j)
			k.m[k.k] = i
		}
		require.Equal(t, c.Key(), got.Key())
	}
	require.True(t, identity.Caller{State: "only state"}.Key().IsZero())
	_, found := identity.FromContext(t.Context())
	require.False(t, found)

	// The digest belongs to the caller it was made for: changing a copy and
	// putting it into a context again makes a new one.
	c, _ := identity.FromContext(identity.NewContext(t.Context(), old))
	c.UserToken = renewed.UserToken
	c, _ = identity.FromContext(identity.NewContext(t.Context(), c))
	require.Equal(t, renewed.Key(), c.Key())
}

func FuzzCallerKey(f *testing.F) {
	f.Add("a", "b")
	f.Add("", "\x00")
	f.Add("h.eyJpc3MiOiJpIn0.s", "h.eyJpc3MiOiJpIn0=.s")
	f.Fuzz(func(t *testing.T, a, b string) {
		ids := identity.Caller{UserID: a}.Key() == identity.Caller{UserID: b}.Key()
		tokens := identity.Caller{UserToken: identity.NewSecret(a)}.Key() == identity.Caller{UserToken: identity.NewSecret(b)}.Key()
		if ids != (a == b) || tokens != (a == b) {
			t.Fatal("different callers share a key, or one has two")
		}
		if a != "" && (identity.Caller{UserID: a}).Key() == (identity.Caller{UserToken: identity.NewSecret(a)}).Key() {
			t.Fatal("a user id and a token share a key")
		}
		_ = identity.JWTExpiry(identity.NewSecret(a))
	})
}

func TestAPIErrors(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   []error
	}{
		{404, "EntityNotExists.WorkloadIdentity", []error{identity.ErrNotFound}},
		{404, "EntityNotExist.Role", []error{identity.ErrNotFound}},
		{404, "InvalidAccessKeyId.NotFound", nil},
		{409, "EntityAlreadyExists.WorkloadIdentity", []error{identity.ErrAlreadyExists}},
		{429, "Throttling.User", []error{identity.ErrThrottled}},
		{403, "NoPermission", []error{identity.ErrAccessDenied}},
		{400, "Forbidden.ScopeNotGranted", []error{identity.ErrAccessDenied}},
		{503, "ServiceUnavailable.UpstreamTokenEndpoint", []error{identity.ErrUnavailable}},
		{400, "InvalidParameter.JsonWebToken", []error{identity.ErrInvalidUserToken}},
		{400, "InvalidParameter.WorkloadAccessToken", []error{identity.ErrInvalidWorkloadToken}},
	}
	all := []error{
		identity.ErrNotFound, identity.ErrAlreadyExists, identity.ErrThrottled, identity.ErrAccessDenied,
		identity.ErrUnavailable, identity.ErrInvalidUserToken, identity.ErrInvalidWorkloadToken,
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(tt.status)
				fmt.Fprintf(w, `{"Code":%q,"Message":"why\nforged line","RequestId":"r-9"}`, tt.code)
			})
			_, err := client.GetWorkloadAccessToken(t.Context(), "agent")
			var apiErr *identity.APIError
			require.ErrorAs(t, err, &apiErr)
			require.Equal(t, "r-9", apiErr.RequestID)
			require.Equal(t, "GetWorkloadAccessToken", apiErr.Op)
			for _, kind := range all {
				want := false
				for _, w := range tt.want {
					want = want || w == kind
				}
				require.Equal(t, want, errors.Is(err, kind), "%v", kind)
			}
			require.NotContains(t, err.Error(), "\n")
			var sdk *tea.SDKError
			require.ErrorAs(t, err, &sdk)
			require.Equal(t, tt.code, tea.StringValue(sdk.Code))
			require.Equal(t, tt.status, tea.IntValue(sdk.StatusCode))
		})
	}
}

func TestNoAnswer(t *testing.T) {
	c, err := identity.New(identity.Config{Endpoint: "http://127.0.0.1:1", Credential: staticCredential(t), Attempts: 1})
	require.NoError(t, err)
	_, err = c.GetWorkloadAccessToken(t.Context(), "agent")
	require.ErrorIs(t, err, identity.ErrUnavailable)
	var apiErr *identity.APIError
	require.ErrorAs(t, err, &apiErr)
	require.True(t, apiErr.Temporary())
	require.Contains(t, err.Error(), "127.0.0.1:1")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.GetWorkloadAccessToken(ctx, "agent")
	require.Equal(t, context.Canceled, err)
}

// racyCredential is as unsafe as the real chain: unlocked state, no context.
type racyCredential struct {
	credentials.Credential
	calls int // deliberately without a lock
	slow  time.Duration
	id    func(n int) string
	total atomic.Int32
}

func (r *racyCredential) GetCredential() (*credentials.CredentialModel, error) {
	r.calls++
	r.total.Add(1)
	time.Sleep(r.slow)
	return &credentials.CredentialModel{AccessKeyId: tea.String(r.id(r.calls)), AccessKeySecret: tea.String("s")}, nil
}

func TestBaseCredentialIsAskedOnce(t *testing.T) {
	cred := &racyCredential{slow: 20 * time.Millisecond, id: func(int) string { return "id" }}
	srvClient := newClientWith(t, cred, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
	})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := srvClient.GetWorkloadAccessToken(t.Context(), "agent"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), cred.total.Load())
}

func TestBaseCredentialDoesNotHoldUpACallerThatLeaves(t *testing.T) {
	cred := &racyCredential{slow: 300 * time.Millisecond, id: func(int) string { return "id" }}
	c := newClientWith(t, cred, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.GetWorkloadAccessToken(ctx, "agent")
	require.Equal(t, context.DeadlineExceeded, err)
	require.Equal(t, int32(1), cred.total.Load())
	// The next caller waits for the stuck one rather than racing it.
	_, err = c.GetWorkloadAccessToken(t.Context(), "agent")
	require.NoError(t, err)
}

func TestRejectedBaseCredentialIsRenewed(t *testing.T) {
	cred := &racyCredential{id: func(n int) string { return fmt.Sprint("id-", n) }}
	c := newClientWith(t, cred, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential=id-1,") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"Code":"InvalidSecurityToken.Expired"}`)
			return
		}
		_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
	})
	_, err := c.GetWorkloadAccessToken(t.Context(), "agent")
	require.NoError(t, err)
	require.Equal(t, int32(2), cred.total.Load())
}

func TestConfig(t *testing.T) {
	t.Setenv("AGENT_IDENTITY_REGION_ID", " ap-southeast-1 ")
	c, err := identity.New(identity.ConfigFromEnv())
	require.NoError(t, err)
	require.Equal(t, "ap-southeast-1", c.Region())
	for _, cfg := range []identity.Config{
		{Region: "evil.example.com/"},
		{Endpoint: "http://agentidentitydata.cn-beijing.aliyuncs.com"},
		{ControlEndpoint: "https://host/path"},
	} {
		_, err := identity.New(cfg)
		require.Error(t, err)
	}
}

func newClientWith(t *testing.T, cred credentials.Credential, handler http.HandlerFunc) *identity.Client {
	t.Helper()
	srv := newServer(t, handler)
	c, err := identity.New(identity.Config{Endpoint: srv, ControlEndpoint: srv, Credential: cred})
	require.NoError(t, err)
	return c
}
