// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

// TestFaults lets each operation go wrong in each way, without and with a
// credential that is still alive, and with a fault that passes.
func TestFaults(t *testing.T) {
	malformed := func(err error) bool {
		e, ok := errors.AsType[*identity.APIError](err)
		return ok && e.Code == identity.CodeMalformedResponse
	}
	kind := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	faults := []struct {
		name   string
		fault  identitytest.Fault
		want   func(error) bool // without a live value, nil for success
		heals  bool             // one such fault is repeated away
		stsOne bool             // concerns STS credentials only
	}{
		{"throttled", identitytest.Throttle(0), kind(identity.ErrThrottled), true, false},
		{"throttled for long", identitytest.Throttle(time.Hour), kind(identity.ErrThrottled), false, false},
		{"server error", identitytest.ServiceError(503, "ServiceUnavailable"), kind(identity.ErrUnavailable), true, false},
		{"refused", identitytest.ServiceError(403, "NoPermission"), kind(identity.ErrAccessDenied), false, false},
		{"slow", identitytest.Delay(20 * time.Millisecond), nil, true, false},
		{"hangs", identitytest.Hang(), kind(identity.ErrUnavailable), true, false},
		{"drops", identitytest.DropConnection(), kind(identity.ErrUnavailable), true, false},
		{"malformed JSON", identitytest.MalformedJSON(), malformed, false, false},
		{"proxy's page", identitytest.HTMLPage(502), kind(identity.ErrUnavailable), true, false},
		{"page with success", identitytest.HTMLPage(200), malformed, false, false},
		{"empty object", identitytest.EmptyObject(), malformed, false, false},
		{"expired on arrival", identitytest.ExpiredOnArrival(), kind(credentials.ErrExpiredOnArrival), false, true},
	}
	for _, op := range []string{"GetWorkloadAccessTokenForJWT", "AssumeRoleForWorkloadIdentity", "GetResourceAPIKey", "GetResourceOAuth2Token"} {
		for _, f := range faults {
			if f.stsOne && op != "AssumeRoleForWorkloadIdentity" {
				continue
			}
			t.Run(op+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				cloud := identitytest.NewServer(t)
				cfg := cloud.ClientConfig()
				cfg.Timeout = 500 * time.Millisecond
				client, err := identity.New(cfg)
				require.NoError(t, err)
				agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
				require.NoError(t, err)
				defer agent.Close()
				key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
				docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{Provider: identitytest.OAuth2Provider, CallbackURL: identitytest.DefaultReturnURL})
				use := func(user string) error {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					ctx = identity.NewContext(ctx, identity.Caller{UserToken: cloud.IDToken(user)})
					if op == "GetResourceOAuth2Token" {
						_, err := docs.Credential(ctx)
						if _, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
							return nil // what is right here
						}
						return err
					}
					_, err := key.Credential(ctx)
					return err
				}

				// What is throttled for good is tried for seconds: once is enough.
				if f.name != "throttled" || op == "GetResourceAPIKey" {
					remove := cloud.Inject(op, f.fault)
					err = use("alice")
					if f.want == nil {
						require.NoError(t, err)
					} else {
						require.True(t, f.want(err), "%v", err)
						require.NotErrorIs(t, err, context.DeadlineExceeded)
					}
					remove()
				}

				// A fault that happens once is repeated away where repeating helps.
				cloud.Inject(op, f.fault.Times(1))
				err = use("bob")
				if f.heals {
					require.NoError(t, err)
				} else {
					require.Error(t, err)
				}

				// With a live value nobody notices.
				token := cloud.IDToken("alice")
				ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
				if op != "GetResourceOAuth2Token" {
					_, err = key.Credential(ctx)
					require.NoError(t, err)
					cloud.Inject("", f.fault)
					_, err = key.Credential(ctx)
					require.NoError(t, err)
				}
			})
		}
	}
}

func TestRevokedGrantAndFailedSession(t *testing.T) {
	a := newApp(t)
	cfg := a.config()
	cfg.Life = new(time.Duration(0))
	src := credentials.NewOAuth2Source(a.agent, cfg)
	token := a.cloud.IDToken("alice")
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: token})
	required := func() *credentials.AuthorizationRequiredError {
		_, err := src.Credential(ctx)
		e, ok := errors.AsType[*credentials.AuthorizationRequiredError](err)
		require.True(t, ok, "%v", err)
		return e
	}
	a.answer(t, required().URL, "alice", identitytest.Allow, token)
	_, err := src.Credential(ctx)
	require.NoError(t, err)
	a.cloud.Revoke("bob", identitytest.OAuth2Provider)
	_, err = src.Credential(ctx)
	require.NoError(t, err)
	a.cloud.Revoke("alice", identitytest.OAuth2Provider)
	session := required().SessionURI

	waiting := a.waiting()
	done := make(chan error, 1)
	go func() { _, err := credentials.NewOAuth2Source(a.agent, waiting).Credential(ctx); done <- err }()
	require.Equal(t, session, (<-a.links).SessionURI)
	require.True(t, a.cloud.FailSession(session))
	require.False(t, a.cloud.FailSession("unknown"))
	credentials.NotifyAuthorization(session)
	require.ErrorIs(t, <-done, credentials.ErrAuthorizationDenied)
}
