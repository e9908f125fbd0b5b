// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func static(context.Context) (Credential, error) {
	return Credential{AccessKeyID: "id", AccessKeySecret: "secret"}, nil
}

// answers serves the given handlers in order, the last one for ever.
func answers(t *testing.T, handlers ...http.HandlerFunc) (*Client, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := min(int(n.Add(1)), len(handlers))
		handlers[i-1](w, r)
	}))
	t.Cleanup(srv.Close)
	c, err := New(Config{Endpoint: srv.URL, MaxResponse: 1 << 16, Timeout: 2 * time.Second})
	require.NoError(t, err)
	return c, &n
}

func reply(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func drop(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

var ok = reply(200, nil, `{"RequestId":"r","Value":"v"}`)

func TestRetries(t *testing.T) {
	throttled := reply(429, nil, `{"Code":"Throttling.User","Message":"slow down","RequestId":"t-1"}`)
	broken := reply(503, nil, `{"Code":"ServiceUnavailable","Message":"later"}`)
	tests := []struct {
		name       string
		handlers   []http.HandlerFunc
		repeatable bool
		wantCalls  int32
		wantErr    bool
	}{
		{"throttled is safe to repeat always", []http.HandlerFunc{throttled, ok}, false, 2, false},
		{"throttled by code with status 400", []http.HandlerFunc{reply(400, nil, `{"Code":"Throttling"}`), ok}, false, 2, false},
		{"5xx of a repeatable call", []http.HandlerFunc{broken, broken, ok}, true, 3, false},
		{"5xx of another call", []http.HandlerFunc{broken, ok}, false, 1, true},
		{"gives up after three", []http.HandlerFunc{broken}, true, 3, true},
		{"connection dropped, repeatable", []http.HandlerFunc{drop, ok}, true, 2, false},
		{"connection dropped, not repeatable", []http.HandlerFunc{drop, ok}, false, 1, true},
		{"a refusal is final", []http.HandlerFunc{reply(403, nil, `{"Code":"NoPermission"}`), ok}, true, 1, true},
		{"a wait too long is passed on", []http.HandlerFunc{reply(429, map[string]string{"Retry-After": "3600"}, `{}`), ok}, true, 1, true},
		{"a redirect is not followed", []http.HandlerFunc{reply(302, map[string]string{"Location": "/other"}, ""), ok}, true, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, n := answers(t, tt.handlers...)
			var out struct{ Value string }
			_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1", Form: Params{}, Repeatable: tt.repeatable}, static, &out)
			require.Equal(t, tt.wantCalls, n.Load())
			if tt.wantErr {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "v", out.Value)
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	c, n := answers(t, reply(429, map[string]string{"Retry-After": "1"}, `{"Code":"Throttling"}`), ok)
	start := time.Now()
	_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1"}, static, nil)
	require.NoError(t, err)
	require.Equal(t, int32(2), n.Load())
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}

func TestNoCallOnRefusedPort(t *testing.T) {
	srv := httptest.NewServer(ok)
	srv.Close()
	c, err := New(Config{Endpoint: srv.URL})
	require.NoError(t, err)
	_, err = c.Call(t.Context(), &Request{Action: "Do", Version: "1"}, static, nil)
	var transport *TransportError
	require.ErrorAs(t, err, &transport)
	require.Equal(t, c.Host(), transport.Host)
}

func TestCancel(t *testing.T) {
	release := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	t.Cleanup(func() { close(release) })
	c, n := answers(t, hang)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for n.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(nil)
	}()
	_, err := c.Call(ctx, &Request{Action: "Do", Version: "1", Repeatable: true}, static, nil)
	require.Equal(t, context.Canceled, err)
	require.Equal(t, int32(1), n.Load())
}

// The time limit of one attempt is not the caller's: it is a failure of the
// connection, and a repeatable call is sent again.
func TestAttemptTimeout(t *testing.T) {
	c, n := answers(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, ok)
	c.timeout = 50 * time.Millisecond
	_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1", Repeatable: true}, static, nil)
	require.NoError(t, err)
	require.Equal(t, int32(2), n.Load())

	n.Store(0)
	_, err = c.Call(t.Context(), &Request{Action: "Do", Version: "1"}, static, nil)
	var transport *TransportError
	require.ErrorAs(t, err, &transport)
	require.ErrorContains(t, err, "nothing within 50ms")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's deadline has not passed")
}

func TestErrorShapes(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    Error
	}{
		{
			"documented", reply(404, nil, `{"Code":"EntityNotExists.WorkloadIdentity","Message":"no","RequestId":"q","Recommend":"https://x"}`),
			Error{StatusCode: 404, Code: "EntityNotExists.WorkloadIdentity", Message: "no", RequestID: "q", Recommend: "https://x"},
		},
		{"lower case", reply(400, nil, `{"code":"C","message":"m","requestId":"q"}`), Error{StatusCode: 400, Code: "C", Message: "m", RequestID: "q"}},
		{"numeric code", reply(400, nil, `{"Code":17,"Message":"m"}`), Error{StatusCode: 400, Code: "17", Message: "m"}},
		{"description", reply(400, nil, `{"Code":"C","Description":"d"}`), Error{StatusCode: 400, Code: "C", Message: "d"}},
		{"null code", reply(400, nil, `{"Code":null}`), Error{StatusCode: 400}},
		{
			"xml", reply(403, map[string]string{"Content-Type": "text/xml;charset=utf-8"}, `<Error><Code>C</Code><Message>m</Message><RequestId>q</RequestId></Error>`),
			Error{StatusCode: 403, Code: "C", Message: "m", RequestID: "q"},
		},
		{
			"html page", reply(400, map[string]string{"Content-Type": "text/html", "X-Acs-Request-Id": "h"}, `<html>secret`),
			Error{StatusCode: 400, Message: `Bad Request: the answer is "text/html", not an error of the service`, RequestID: "h"},
		},
		{"empty", reply(400, nil, ``), Error{StatusCode: 400, Message: "Bad Request: the answer is empty, not an error of the service"}},
		{"success that is no JSON", reply(200, map[string]string{"Content-Type": "text/html"}, `<html>`), Error{StatusCode: 200, Code: CodeMalformed, Message: `the answer is "text/html", not a JSON object`}},
		{"success cut short", reply(200, nil, `{"Value":"v`), Error{StatusCode: 200, Code: CodeMalformed, Message: `the answer is "application/json", not a JSON object`}},
		{"success of another type", reply(200, nil, `{"Value":7}`), Error{StatusCode: 200, Code: CodeMalformed, Message: `the answer does not have the documented shape: field "Value" is a number`}},
		{"too large", reply(200, nil, `{"Value":"`+strings.Repeat("x", 1<<16)+`"}`), Error{StatusCode: 200, Code: CodeMalformed, Message: "the answer is larger than 65536 bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := answers(t, tt.handler)
			var out struct{ Value string }
			_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1"}, static, &out)
			var got *Error
			require.ErrorAs(t, err, &got)
			tt.want.Op = "Do"
			require.Equal(t, tt.want, *got)
			require.NotContains(t, fmt.Sprint(err), "secret")
		})
	}
}

func TestBearerToken(t *testing.T) {
	var header http.Header
	var query string
	c, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		header, query = r.Header.Clone(), r.URL.RawQuery
		ok(w, r)
	})
	_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1", Form: Params{}}, func(context.Context) (Credential, error) {
		return Credential{BearerToken: "b", ProviderName: "bearer"}, nil
	}, nil)
	require.NoError(t, err)
	require.Equal(t, "b", header.Get("X-Acs-Bearer-Token"))
	require.Equal(t, "SignatureType=BEARERTOKEN", query)
	require.Empty(t, header.Get("Authorization"))
}

func TestConnectionsAreReused(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(ok)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c, err := New(Config{Endpoint: srv.URL})
	require.NoError(t, err)
	for range 20 {
		_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1", Form: Params{}}, static, nil)
		require.NoError(t, err)
	}
	require.Equal(t, int32(1), conns.Load())
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"agentidentity.cn-beijing.aliyuncs.com": "agentidentity.cn-beijing.aliyuncs.com",
		"https://host:8443/":                    "host:8443",
		"http://127.0.0.1:9000":                 "127.0.0.1:9000",
		"http://[::1]:9000":                     "[::1]:9000",
		"http://localhost:9000":                 "localhost:9000",
	} {
		c, err := New(Config{Endpoint: endpoint})
		require.NoError(t, err, endpoint)
		require.Equal(t, want, c.Host())
	}
	for _, endpoint := range []string{"", "http://agentidentity.cn-beijing.aliyuncs.com", "ftp://h", "https://h/path", "https://u:p@h", "http://10.0.0.1:80", "h?x=1"} {
		_, err := New(Config{Endpoint: endpoint})
		require.Error(t, err, endpoint)
	}
}

func TestNoCredential(t *testing.T) {
	c, n := answers(t, ok)
	_, err := c.Call(t.Context(), &Request{Action: "Do", Version: "1"}, nil, nil)
	require.ErrorIs(t, err, ErrNoCredential)
	require.Zero(t, n.Load())
}

func FuzzDecodeError(f *testing.F) {
	f.Add("application/json", `{"Code":"C","Message":"m"}`)
	f.Add("text/xml", `<Error><Code>C</Code></Error>`)
	f.Add("text/html", `<html>`)
	f.Fuzz(func(t *testing.T, mediaType, body string) {
		resp := &http.Response{StatusCode: 500, Header: http.Header{"Content-Type": {mediaType}}}
		err := decodeError("Op", resp, []byte(body))
		if err.Error() == "" || err.StatusCode != 500 {
			t.Fatal("an error lost its status")
		}
	})
}
