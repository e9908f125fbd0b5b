// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// lockedBuffer collects what many goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newApp starts everything on free ports, with its log at the lowest level.
func newApp(t *testing.T, args ...string) (*app, *lockedBuffer) {
	t.Helper()
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	opts, err := parse(append([]string{"-agent-addr", "localhost:0", "-backend-addr", "localhost:0", "-log-level", "debug"}, args...), io.Discard)
	require.NoError(t, err)
	logs := &lockedBuffer{}
	a, err := start(opts, newLog(logs, opts.logLevel, opts.logFormat))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.stop()) })
	return a, logs
}

// browser is somebody's browser on the page: it has cookies and does by hand
// what the page's script does.
type browser struct {
	t      *testing.T
	app    *app
	http   *http.Client
	user   string // who chooses on the sign-in page
	handle string
	chatID string

	mu   sync.Mutex
	seen bytes.Buffer // everything that reached this browser
}

func newBrowser(t *testing.T, a *app) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t: t, app: a, chatID: "chat-1", http: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request; body is JSON if it is not nil.
func (b *browser) do(method, address string, body any, header ...string) (int, string) {
	b.t.Helper()
	resp := b.open(b.t.Context(), method, address, body, header...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	b.mu.Lock()
	b.seen.Write(text)
	b.mu.Unlock()
	return resp.StatusCode, string(text)
}

func (b *browser) open(ctx context.Context, method, address string, body any, header ...string) *http.Response {
	b.t.Helper()
	var reader io.Reader
	if s, ok := body.(string); ok {
		reader = strings.NewReader(s)
	} else if body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(b.t, err)
		reader = bytes.NewReader(encoded)
	}
	if strings.HasPrefix(address, "/") {
		address = b.app.backendURL + address
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	require.NoError(b.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	require.NoError(b.t, err)
	return resp
}

// authorizeURL begins a sign-in.
func (b *browser) authorizeURL() string {
	b.t.Helper()
	status, body := b.do(http.MethodGet, "/auth", nil)
	require.Equal(b.t, 200, status, body)
	var link string
	require.NoError(b.t, json.Unmarshal([]byte(body), &link))
	return link
}

// signIn signs in at the local cloud and comes back.
func (b *browser) signIn(user string) {
	b.t.Helper()
	b.user = user
	status, body := b.finishSignIn(b.signInPage(b.authorizeURL()))
	require.Equal(b.t, 200, status, body)
	var in struct {
		SessionID string `json:"session_id"`
		UserID    string `json:"user_id"`
	}
	require.NoError(b.t, json.Unmarshal([]byte(body), &in))
	require.Equal(b.t, user, in.UserID)
	require.NotContains(b.t, in.SessionID, "=")
	b.handle = in.SessionID
}

func (b *browser) finishSignIn(back url.Values) (int, string) {
	return b.do(http.MethodPost, "/callback_for_oauth", map[string]string{"code": back.Get("code"), "state": back.Get("state")})
}

var (
	field  = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	action = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// signInPage goes through the local cloud's sign-in until it leads back to the
// backend.
func (b *browser) signInPage(link string) url.Values {
	b.t.Helper()
	u := b.walk(link, "")
	require.Equal(b.t, b.app.backendURL, u.Scheme+"://"+u.Host)
	return u.Query()
}

// walk goes through the local cloud's pages in this browser, filling their
// forms, until they lead elsewhere.
func (b *browser) walk(link, decision string) *url.URL {
	b.t.Helper()
	resp := b.open(b.t.Context(), http.MethodGet, link, nil)
	for range 12 {
		page, err := io.ReadAll(resp.Body)
		require.NoError(b.t, err)
		_ = resp.Body.Close()
		if location, err := resp.Location(); err == nil {
			if !strings.HasPrefix(location.String(), b.app.cloud.URL()) {
				return location
			}
			resp = b.open(b.t.Context(), http.MethodGet, location.String(), nil)
			continue
		}
		target := action.FindSubmatch(page)
		require.NotNil(b.t, target, "status %d: %s", resp.StatusCode, page)
		form := url.Values{}
		for _, m := range field.FindAllSubmatch(page, -1) {
			form.Set(string(m[1]), string(m[2]))
		}
		if strings.HasSuffix(string(target[1]), "/signin") {
			form.Set("user", b.user)
		} else {
			form.Set("decision", decision)
		}
		resp = b.open(b.t.Context(), http.MethodPost, b.app.cloud.URL()+string(target[1]), form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	b.t.Fatal("the pages lead in circles")
	return nil
}

// answer is what a chat message brought.
type answer struct {
	text     string // of the assistant
	outputs  []protocol.ToolOutput
	calls    []protocol.ToolCall
	asks     []protocol.Authorization // states of consents, in order
	response protocol.Response        // the last one
	failure  *protocol.Error
}

// say sends a message and reads the whole answer. onAsk is told of each
// authorization event.
func (b *browser) say(message string, onAsk func(protocol.Authorization)) answer {
	b.t.Helper()
	resp := b.chat(b.t.Context(), message)
	defer resp.Body.Close()
	require.Equal(b.t, 200, resp.StatusCode)
	require.Equal(b.t, "text/event-stream; charset=utf-8", resp.Header.Get("Content-Type"))
	return b.read(resp.Body, onAsk)
}

func (b *browser) chat(ctx context.Context, message string) *http.Response {
	b.t.Helper()
	return b.open(ctx, http.MethodPost, "/chat", map[string]any{
		"session_id": b.chatID, "accept_events": []string{protocol.ObjectAuthorization},
		"input": []any{map[string]any{"role": "user", "content": []any{map[string]any{"type": "text", "text": message}}}},
	}, "SESSION-ID", b.handle)
}

func (b *browser) read(stream io.Reader, onAsk func(protocol.Authorization)) answer {
	b.t.Helper()
	var a answer
	done := false
	for ev, err := range sse.Read(stream, 0) {
		require.NoError(b.t, err)
		b.mu.Lock()
		b.seen.Write(ev.Data)
		b.mu.Unlock()
		if string(ev.Data) == "[DONE]" {
			done = true
			break
		}
		if ev.Data == nil {
			continue
		}
		var e struct {
			Object  string            `json:"object"`
			Status  string            `json:"status"`
			Type    string            `json:"type"`
			Delta   *bool             `json:"delta"`
			Text    string            `json:"text"`
			Error   *protocol.Error   `json:"error"`
			Content []map[string]any  `json:"content"`
			Data    protocol.ToolCall `json:"data"`
			Index   *int              `json:"index"`
		}
		require.NoError(b.t, json.Unmarshal(ev.Data, &e), "%s", ev.Data)
		switch {
		case e.Object == "authorization":
			var auth protocol.Authorization
			require.NoError(b.t, json.Unmarshal(ev.Data, &auth))
			a.asks = append(a.asks, auth)
			if onAsk != nil {
				onAsk(auth)
			}
		case e.Object == "content" && e.Type == "text" && e.Delta != nil && *e.Delta:
			a.text += e.Text
		case e.Object == "content" && e.Type == "data" && e.Status == "completed":
			a.calls = append(a.calls, e.Data)
		case e.Object == "message" && e.Type == "plugin_call_output":
			var out protocol.ToolOutput
			encoded, err := json.Marshal(e.Content[0]["data"])
			require.NoError(b.t, err)
			require.NoError(b.t, json.Unmarshal(encoded, &out))
			a.outputs = append(a.outputs, out)
		case e.Object == "response" && (e.Status == "completed" || e.Status == "failed"):
			a.response.Status, a.failure = e.Status, e.Error
		}
	}
	require.True(b.t, done, "the stream must end with its mark")
	return a
}

// consent opens the link of an authorization event in this browser and
// decides. It returns the status and page of our callback.
func (b *browser) consent(auth protocol.Authorization, decision string) (int, string) {
	b.t.Helper()
	back := b.walk(b.consentLink(auth), decision)
	return b.do(http.MethodGet, back.String(), nil, "Accept", "text/html")
}

var continueLink = regexp.MustCompile(`<a class="button" href="([^"]+)"`)

// consentLink reads the service's link from our own page.
func (b *browser) consentLink(auth protocol.Authorization) string {
	b.t.Helper()
	require.True(b.t, strings.HasPrefix(auth.URL, b.app.backendURL+"/consent/"), auth.URL)
	status, page := b.do(http.MethodGet, auth.URL, nil, "Accept", "text/html")
	require.Equal(b.t, 200, status, page)
	require.Contains(b.t, page, auth.Provider)
	m := continueLink.FindStringSubmatch(page)
	require.NotNil(b.t, m, page)
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

func within(t *testing.T, d time.Duration, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s: not within %s", what, d)
	}
}
