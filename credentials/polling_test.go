// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// memoryService answers in memory, so that tests can have a clock of their own.
type memoryService struct {
	mu      sync.Mutex
	latency time.Duration
	answers map[string]func(url.Values) (status int, retryAfter, body string)
	calls   map[string][]time.Time
	forms   []url.Values // of GetResourceOAuth2Token
	header  func() (name, value string)
}

func newMemoryService() *memoryService {
	token := 0
	ok := func(body string) func(url.Values) (int, string, string) {
		return func(url.Values) (int, string, string) { return 200, "", body }
	}
	s := &memoryService{calls: map[string][]time.Time{}}
	s.answers = map[string]func(url.Values) (int, string, string){
		"GetWorkloadAccessTokenForUserId": func(url.Values) (int, string, string) {
			token++
			return 200, "", fmt.Sprintf(`{"WorkloadAccessToken":"t%d"}`, token)
		},
		"AssumeRoleForWorkloadIdentity": func(url.Values) (int, string, string) {
			return 200, "", fmt.Sprintf(`{"Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":%q}}`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		},
		"GetResourceAPIKey":      ok(`{"APIKey":"k"}`),
		"GetResourceOAuth2Token": ok(`{"AuthorizationURL":"https://example.com/a","SessionURI":"urn:1","SessionStatus":"IN_PROGRESS"}`),
	}
	return s
}

func (s *memoryService) RoundTrip(req *http.Request) (*http.Response, error) {
	b, _ := io.ReadAll(req.Body)
	_ = req.Body.Close()
	form, _ := url.ParseQuery(string(b))
	action := req.Header.Get("X-Acs-Action")
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[action] = append(s.calls[action], time.Now())
	if action == "GetResourceOAuth2Token" {
		s.forms = append(s.forms, form)
	}
	status, retryAfter, body := s.answers[action](form)
	switch status {
	case noAnswer:
		return nil, io.ErrUnexpectedEOF
	case hang:
		s.mu.Unlock()
		<-req.Context().Done()
		s.mu.Lock()
		return nil, req.Context().Err()
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	if s.header != nil {
		if name, value := s.header(); name != "" {
			header.Set(name, value)
		}
	}
	return &http.Response{
		StatusCode: status, Header: header, Request: req, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)),
	}, nil
}

func (s *memoryService) answer(action string, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[action] = func(url.Values) (int, string, string) { return status, "", body }
}

func (s *memoryService) count(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls[action])
}

func (s *memoryService) agent(t *testing.T) *workload.Agent {
	t.Helper()
	cred, err := alibaba.NewCredential(new(alibaba.Config).SetType("access_key").SetAccessKeyId("id").SetAccessKeySecret("secret"))
	require.NoError(t, err)
	client, err := identity.New(identity.Config{Credential: cred, HTTPClient: &http.Client{Transport: s}})
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: "agent"})
	require.NoError(t, err)
	return agent
}

func TestPollsGrowAndRepeatTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "docs", Scopes: []string{"b", "a"}, CallbackURL: "https://example.com/callback", Timeout: time.Minute,
			CustomParameters: map[string]string{"k": "v"}, OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
		})
		_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserID: "u", State: "chat"}))
		require.ErrorIs(t, err, credentials.ErrAuthorizationTimeout)
		times := service.calls["GetResourceOAuth2Token"]
		require.InDelta(t, 15, len(times), 3, "a minute's polls")
		longest := time.Duration(0)
		for i := 1; i < len(times); i++ {
			pause := times[i].Sub(times[i-1])
			require.GreaterOrEqual(t, pause, time.Second)
			require.LessOrEqual(t, pause, 6250*time.Millisecond)
			longest = max(longest, pause)
		}
		require.Greater(t, longest, 4*time.Second, "they grow")
		first := service.forms[0]
		require.Equal(t, "chat", first.Get("CustomState"))
		for _, f := range service.forms[1:] {
			require.Equal(t, "urn:1", f.Get("SessionURI"))
			f.Del("SessionURI")
			f.Del("WorkloadAccessToken")
			want := url.Values{}
			for k, v := range first {
				want[k] = v
			}
			want.Del("WorkloadAccessToken")
			require.Equal(t, want, f, "each poll repeats the whole request")
		}
	})
}

// A failure of a poll that may pass does not end the waiting, and its
// Retry-After is obeyed; one that will not pass does.
func TestPollsSurviveFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "docs", OnAuthorization: func(context.Context, credentials.Authorization) error {
				service.mu.Lock()
				defer service.mu.Unlock()
				service.answers["GetResourceOAuth2Token"] = func(url.Values) (int, string, string) {
					return 503, "30", `{"Code":"ServiceUnavailable"}`
				}
				return nil
			},
		})
		ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "u"})
		done := make(chan error, 1)
		go func() { _, err := src.Credential(ctx); done <- err }()
		time.Sleep(10 * time.Second)
		before := service.count("GetResourceOAuth2Token")
		time.Sleep(15 * time.Second)
		require.Equal(t, before, service.count("GetResourceOAuth2Token"), "it asked to be left alone")
		service.answer("GetResourceOAuth2Token", 200, `{"AccessToken":"granted"}`)
		require.NoError(t, <-done)

		// What the service does not know is pending, what it refuses is over.
		for status, want := range map[string]error{
			`{"SessionURI":"urn:2","AuthorizationURL":"https://e/","SessionStatus":"SOMETHING_NEW"}`: credentials.ErrAuthorizationTimeout,
			`{"SessionURI":"urn:2","SessionStatus":"FAILED"}`:                                        credentials.ErrAuthorizationDenied,
			`{"SessionURI":"urn:2","SessionStatus":"EXPIRED"}`:                                       credentials.ErrAuthorizationExpired,
		} {
			agent.Purge()
			service.answer("GetResourceOAuth2Token", 200, `{"SessionURI":"urn:2","AuthorizationURL":"https://e/"}`)
			other := identity.NewContext(t.Context(), identity.Caller{UserID: status})
			next := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
				Provider: "docs", OnAuthorization: func(context.Context, credentials.Authorization) error {
					service.answer("GetResourceOAuth2Token", 200, status)
					return nil
				},
			})
			begun := time.Now()
			_, err := next.Credential(other)
			require.ErrorIs(t, err, want)
			if want != credentials.ErrAuthorizationTimeout {
				require.Less(t, time.Since(begun), 2*time.Second, "at the next poll")
			}
		}
		service.answer("GetResourceOAuth2Token", 403, `{"Code":"NoPermission"}`)
		agent.Purge()
		_, err := src.Credential(ctx)
		require.ErrorIs(t, err, identity.ErrAccessDenied)
	})
}

// A process that listens is woken at once by the one that handled the return,
// also after the connection broke.
func TestWakeUpFromAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		agent := service.agent(t)
		defer agent.Close()
		shared := &bus{listening: map[chan string]bool{}}
		ctx, cancel := context.WithCancel(t.Context())
		listening := make(chan error, 1)
		go func() { listening <- credentials.ListenAuthorizations(ctx, shared) }()
		synctest.Wait()
		require.NoError(t, shared.Notify(ctx, "break"))
		src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "docs", OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
		})
		done := make(chan error, 1)
		go func() {
			_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserID: "u"}))
			done <- err
		}()
		time.Sleep(20 * time.Second) // polls are five seconds apart now
		service.answer("GetResourceOAuth2Token", 200, `{"AccessToken":"granted"}`)
		granted := time.Now()
		sum := sha256.Sum256([]byte("urn:1"))
		require.NoError(t, shared.Notify(ctx, base64.RawURLEncoding.EncodeToString(sum[:])))
		require.NoError(t, <-done)
		require.Zero(t, time.Since(granted), "at once")
		cancel()
		require.ErrorIs(t, <-listening, context.Canceled)
	})
	require.Error(t, credentials.ListenAuthorizations(t.Context(), nil))
}

// Closing the agent ends the waiting, and nothing is left running: synctest
// fails where it is.
func TestCloseEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		agent := service.agent(t)
		src := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: "docs", OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
		})
		done := make(chan error, 1)
		go func() {
			_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserID: "u"}))
			done <- err
		}()
		time.Sleep(3 * time.Second)
		agent.Close()
		require.ErrorIs(t, <-done, workload.ErrClosed)
		_, err := src.Credential(identity.NewContext(t.Context(), identity.Caller{UserID: "u"}))
		require.ErrorIs(t, err, workload.ErrClosed)
	})
}
