// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	alibaba "github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// syncBuffer is a log that many write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// A marked secret of each kind goes through every path, all faults and all
// formats of printing included, while the service quotes in its errors whatever
// it was sent: no mark is seen but in the function's argument.
func TestGoal15LeakHunt(t *testing.T) {
	const mark = "PLANTED"
	secrets := map[string]string{
		"access key secret": mark + "-access-key-secret", "user token": mark + ".user.token", "workload token": mark + "-workload-token",
		"STS secret": mark + "-sts-secret", "security token": mark + "-security-token", "API key": mark + "-api-key", "OAuth2 token": mark + "-oauth2-token",
		"session": "urn:" + mark + "-session", "link": "https://example.com/" + mark + "-link",
	}
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	show := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(&out, "%v %+v %#v %s %q\n", v, v, v, v, v)
			b, _ := json.Marshal(v)
			_, _ = out.Write(b)
			log.Debug("shown", "value", v)
		}
	}
	quote := func(form url.Values) string {
		b, _ := json.Marshal("you sent " + form.Encode() + fmt.Sprint(form))
		return string(b)
	}
	synctest.Test(t, func(t *testing.T) {
		good := map[string]answer{
			"GetWorkloadAccessTokenForJWT":  always(200, "", `{"WorkloadAccessToken":"`+secrets["workload token"]+`"}`),
			"AssumeRoleForWorkloadIdentity": always(200, "", `{"Credentials":{"AccessKeyId":"STS.id","AccessKeySecret":"`+secrets["STS secret"]+`","SecurityToken":"`+secrets["security token"]+`","Expiration":"2999-01-01T00:00:00Z"}}`),
			"GetResourceAPIKey":             always(200, "", `{"APIKey":"`+secrets["API key"]+`"}`),
			"GetResourceOAuth2Token":        always(200, "", `{"AccessToken":"`+secrets["OAuth2 token"]+`"}`),
			"CompleteResourceTokenAuth":     always(200, "", `{}`),
		}
		consent := always(200, "", `{"AuthorizationURL":"`+secrets["link"]+`","SessionURI":"`+secrets["session"]+`","SessionStatus":"IN_PROGRESS"}`)
		bad := []answer{
			func(f url.Values) (int, string, string) {
				return 400, "", `{"Code":"InvalidParameter","Message":` + quote(f) + `}`
			},
			func(f url.Values) (int, string, string) {
				return 503, "", `{"Code":"ServiceUnavailable","Message":` + quote(f) + `}`
			},
			func(f url.Values) (int, string, string) { return 403, "", `{"Code":` + quote(f) + `,"Message":"no"}` },
			func(f url.Values) (int, string, string) { return 502, "", "<html>" + f.Encode() },
			func(f url.Values) (int, string, string) {
				return 200, "", `{"APIKey":["` + secrets["API key"] + `"],"WorkloadAccessToken":{"x":"` + secrets["workload token"] + `"}}`
			},
			func(f url.Values) (int, string, string) { return 200, "", `{"` + secrets["API key"] },
			always(noAnswer, "", ""), always(hang, "", ""), consent, good["GetResourceOAuth2Token"],
		}
		service := newMemoryService()
		cred, err := alibaba.NewCredential(new(alibaba.Config).SetType("access_key").SetAccessKeyId("LTAI").SetAccessKeySecret(secrets["access key secret"]))
		require.NoError(t, err)
		client, err := identity.New(identity.Config{Credential: cred, HTTPClient: &http.Client{Transport: service}, Logger: log})
		require.NoError(t, err)
		agent, err := workload.New(workload.Config{Client: client, Name: "agent"})
		require.NoError(t, err)
		defer agent.Close()

		caller := identity.Caller{UserToken: identity.NewSecret(secrets["user token"])}
		key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "p"})
		sts := credentials.NewSTSSource(agent, credentials.STSConfig{})
		token := credentials.NewWorkloadTokenSource(agent)
		var asked *credentials.AuthorizationRequiredError
		docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{Provider: "p"})
		waiting := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "p", Timeout: 20 * time.Second, OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
		})
		panics := credentials.RequiresAPIKey(key, func(_ context.Context, k credentials.APIKey, _ int) (int, error) {
			return 0, fmt.Errorf("the weather service refused %v: %w", k, credentials.ErrRejected)
		})
		use := func() {
			ctx, cancel := context.WithTimeout(identity.NewContext(t.Context(), caller), 30*time.Second)
			defer cancel()
			k, err := key.Credential(ctx)
			show(k, err, errors.Unwrap(err))
			s, err := sts.Credential(ctx)
			show(s, err)
			w, err := token.Credential(ctx)
			show(w, err)
			o, err := docs.Credential(ctx)
			if errors.As(err, &asked) {
				show(asked.Error(), asked.Caller)
				err = nil
			}
			show(o, err)
			o, err = waiting.Credential(ctx)
			show(o, err)
			_, err = panics(ctx, 1)
			show(err, client.CompleteResourceTokenAuth(ctx, secrets["session"], identity.UserIdentifier{UserToken: caller.UserToken}))
			show(identity.UserIdentifier{UserToken: caller.UserToken}, caller, caller.Key(), agent.Stats())
			// Printed by reflection, so without the timer of ctx, which may fire meanwhile.
			show(identity.NewContext(context.Background(), caller))
		}
		reset := func() {
			service.mu.Lock()
			defer service.mu.Unlock()
			for op, a := range good {
				service.answers[op] = a
			}
		}
		reset()
		use()
		for op := range good {
			for _, b := range bad {
				reset()
				agent.Purge()
				time.Sleep(time.Minute)
				service.mu.Lock()
				service.answers[op] = b
				service.mu.Unlock()
				use()
			}
		}
		require.NotNil(t, asked)
	})
	text := out.b.String()
	require.Greater(t, len(text), 100_000)
	require.Contains(t, text, "InvalidParameter")
	for name, secret := range secrets {
		for form, s := range map[string]string{
			"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "escaped": url.QueryEscape(secret),
		} {
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("%s (%s): …%s…", name, form, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}
