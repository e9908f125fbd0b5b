// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	alibaba "github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// limited is a service in memory that answers 20 ms later and accepts so many
// calls in each second: by a token bucket, or anew with each second.
type limited struct {
	rate       float64
	retryAfter bool
	window     bool

	mu     sync.Mutex
	bucket float64
	filled time.Time

	calls, refused atomic.Int64
}

func (l *limited) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch gone := now.Sub(l.filled); {
	case !l.window:
		l.bucket = min(l.rate, l.bucket+gone.Seconds()*l.rate)
		l.filled = now
	case gone >= time.Second:
		l.bucket, l.filled = l.rate, now.Truncate(time.Second)
	}
	if l.bucket < 1 {
		return false
	}
	l.bucket--
	return true
}

func (l *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	_ = req.Body.Close()
	l.calls.Add(1)
	time.Sleep(20 * time.Millisecond)
	header := http.Header{"Content-Type": {"application/json"}}
	answer := func(status int, body string) *http.Response {
		return &http.Response{
			StatusCode: status, Header: header, Request: req, ProtoMajor: 1, ProtoMinor: 1,
			Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)),
		}
	}
	if !l.take() {
		l.refused.Add(1)
		if l.retryAfter {
			header.Set("Retry-After", "1")
		}
		return answer(429, `{"Code":"Throttling.User","Message":"Request was denied due to user flow control."}`), nil
	}
	return answer(200, fmt.Sprintf(`{"WorkloadAccessToken":"t","Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":%q}}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339))), nil
}

// 10,000 users wake at once while the service accepts 200 calls a second. Each
// needs two calls, so that 100 seconds are ideal: all are served, and none
// waits longer than twice that.
func TestTenThousandUsersWakeAtOnce(t *testing.T) {
	for name, service := range map[string]*limited{
		"bucket": {}, "window, asks to wait": {window: true, retryAfter: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const users, rate = 10_000, 200
				service.rate, service.bucket, service.filled = rate, rate, time.Now()
				cred, err := alibaba.NewCredential(new(alibaba.Config).SetType("access_key").SetAccessKeyId("id").SetAccessKeySecret("secret"))
				require.NoError(t, err)
				client, err := identity.New(identity.Config{Credential: cred, HTTPClient: &http.Client{Transport: service}})
				require.NoError(t, err)
				agent, err := workload.New(workload.Config{Client: client, Name: "agent", MaxEntries: 2 * users})
				require.NoError(t, err)
				defer agent.Close()

				begun := time.Now()
				took := make([]time.Duration, users)
				failed := make([]error, users)
				var wg sync.WaitGroup
				for i := range users {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
						defer cancel()
						ctx = identity.NewContext(ctx, identity.Caller{UserID: fmt.Sprint("user-", i)})
						_, failed[i] = agent.Session(ctx, workload.SessionOptions{})
						took[i] = time.Since(begun)
					})
				}
				wg.Wait()
				require.NoError(t, errors.Join(failed...))
				ideal := 2 * users / rate * time.Second
				longest := slices.Max(took)
				t.Logf("ideal %s, longest %s, %d calls for %d, %d refused", ideal, longest, service.calls.Load(), 2*users, service.refused.Load())
				require.Less(t, longest, 2*ideal)
			})
		})
	}
}
