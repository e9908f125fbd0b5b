// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// originalReader reads a stream by the rules of the original page's reader
// (reference of the protocol, 6.4): what it does not understand shows as an
// interruption.
type originalReader struct {
	cards       map[string]string // text by message
	order       []string
	finished    bool
	interrupted bool
}

func (o *originalReader) read(t *testing.T, body io.Reader, onText func(all string)) {
	t.Helper()
	o.cards = map[string]string{}
	var rest []byte
	buf := make([]byte, 1024)
	for {
		n, err := body.Read(buf)
		rest = append(rest, buf[:n]...)
		for !o.finished && !o.interrupted {
			block, after, found := bytes.Cut(rest, []byte("\n\n"))
			if !found {
				break
			}
			rest = after
			o.block(string(block))
			onText(o.text())
		}
		if err != nil || o.finished || o.interrupted {
			return
		}
	}
}

func (o *originalReader) block(block string) {
	data, keys := "", 0
	for line := range strings.SplitSeq(block, "\n") {
		if line == "" {
			continue
		}
		key, value, found := strings.Cut(line, ":")
		if !found {
			o.interrupted = true
			return
		}
		if key == "" {
			continue // a comment
		}
		keys++
		if key == "data" {
			data = value
		}
	}
	if keys == 0 {
		return
	}
	var e struct {
		Object, Status, Type, Text string
		Delta                      any
		MsgID                      string `json:"msg_id"`
	}
	if json.Unmarshal([]byte(strings.TrimSpace(data)), &e) != nil {
		o.interrupted = true
		return
	}
	switch {
	case e.Object == "response" && e.Status == "completed":
		o.finished = true
	case e.Type == "text" && e.Delta == true:
		if _, have := o.cards[e.MsgID]; !have {
			o.order = append(o.order, e.MsgID)
		}
		o.cards[e.MsgID] += e.Text
	}
}

func (o *originalReader) text() string {
	var b strings.Builder
	for _, id := range o.order {
		b.WriteString(o.cards[id] + "\n")
	}
	return b.String()
}

var serviceLink = regexp.MustCompile(`http://127\.0\.0\.1:\d+/\S+`)

// The original page does what its reference says it does: it signs in, chats
// with a history that is encoded twice and a new id for each message, shows the
// consent link as text, and the grant lets the answer go on.
func TestTheOriginalPage(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	b.user = "alice"
	base, err := url.Parse(a.backendURL)
	require.NoError(t, err)

	// /login
	status, body := b.do(http.MethodGet, "/auth", nil, "Content-Type", "application/json")
	require.Equal(t, 200, status)
	var link string
	require.NoError(t, json.Unmarshal([]byte(body), &link))
	back := b.signInPage(link)
	// /authorize
	status, _ = b.do(http.MethodGet, "/authorize?"+back.Encode(), nil, "Accept", "text/html")
	require.Equal(t, 200, status, "the page's own routes can be loaded")
	status, body = b.finishSignIn(back)
	require.Equal(t, 200, status)
	var in struct {
		SessionID string `json:"session_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &in))
	b.http.Jar.SetCookies(base, []*http.Cookie{{Name: "oauthSessionId", Value: in.SessionID, Path: "/"}}) // by script

	var history []any
	say := func(text string, onText func(string)) *originalReader {
		t.Helper()
		history = append(history, map[string]any{
			"id": fmt.Sprint(len(history)), "role": "user", "msgStatus": "finished",
			"cards": []any{map[string]any{"code": "Text", "data": map[string]any{"content": text, "msgStatus": "finished"}}},
		})
		encoded, err := json.Marshal(history)
		require.NoError(t, err)
		resp := b.open(t.Context(), http.MethodPost, "/chat", map[string]any{
			"session_id": fmt.Sprint(time.Now().UnixMilli()),
			"input":      []any{map[string]any{"role": "user", "content": []any{map[string]any{"type": "text", "text": string(encoded), "user_id": "seeq"}}}},
		}, "SESSION-ID", in.SessionID)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode, "exactly")
		reader := new(originalReader)
		reader.read(t, resp.Body, onText)
		history = append(history, map[string]any{
			"id": fmt.Sprint(len(history)), "role": "assistant",
			"cards": []any{map[string]any{"code": "Text", "data": map[string]any{"content": reader.text()}}},
		})
		return reader
	}
	got := say("What's my schedule for today?", func(string) {})
	require.True(t, got.finished)
	require.Contains(t, got.text(), "Alice")

	granted := false
	got = say("What time is it now?", func(all string) {
		if link := serviceLink.FindString(all); link != "" && !granted {
			granted = true
			status, page := b.do(http.MethodGet, b.walk(link, "allow").String(), nil, "Accept", "text/html")
			require.Equal(t, 200, status)
			require.Contains(t, page, "Success")
		}
	})
	require.True(t, granted, got.text())
	require.True(t, got.finished)
	require.Contains(t, got.text(), "Asia/Shanghai")

	// A failure ends the loading: it shows as an interruption.
	require.NoError(t, a.agent.http.Close())
	got = say("hello", func(string) {})
	require.True(t, got.interrupted)
}

// What is slow, huge or leads elsewhere.
func TestMoreAttacks(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	// Huge header.
	resp := b.open(t.Context(), http.MethodGet, "/me", nil, "X-Huge", strings.Repeat("x", 64<<10))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	// Open redirects: addresses that browsers may take for another host.
	for _, path := range []string{"//evil.example.com", "/\\evil.example.com", "/%2f%2fevil.example.com", "/@evil.example.com", "/callback?session_uri=https://evil.example.com&state=x"} {
		for _, host := range []string{base(a.backendURL), "127.0.0.1" + a.backendURL[strings.LastIndexByte(a.backendURL, ':'):]} {
			conn, err := net.Dial("tcp", base(a.backendURL))
			require.NoError(t, err)
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
			require.NoError(t, err)
			answer, err := io.ReadAll(conn)
			require.NoError(t, err)
			_ = conn.Close()
			for line := range strings.Lines(string(answer)) {
				if location, ok := strings.CutPrefix(line, "Location: "); ok {
					u, err := url.Parse(strings.TrimSpace(location))
					require.NoError(t, err)
					require.Contains(t, []string{"", base(a.backendURL)}, u.Host, "%s at %s: %s", path, host, location)
					require.False(t, strings.HasPrefix(location, "//") || strings.HasPrefix(location, "/\\"), location)
				}
			}
		}
	}
	// Line breaks in what is logged or sent on.
	for _, path := range []string{"/chats/x%0d%0aSet-Cookie:%20a=b", "/x%0alevel=ERROR%20msg=forged"} {
		resp := b.open(t.Context(), http.MethodGet, path, nil, "SESSION-ID", b.handle)
		require.NoError(t, resp.Body.Close())
		require.Empty(t, resp.Header.Get("Set-Cookie"))
	}
}

func base(address string) string { return strings.TrimPrefix(address, "http://") }

// A body that trickles in does not hold its connection for ever.
func TestSlowBody(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	u, err := url.Parse(a.backendURL)
	require.NoError(t, err)
	cookies := ""
	for _, c := range b.http.Jar.Cookies(u) {
		cookies += c.Name + "=" + c.Value + "; "
	}
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /chat HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nSESSION-ID: %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", u.Host, cookies, b.handle)
	require.NoError(t, err)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
				if _, err := conn.Write([]byte(" ")); err != nil {
					return
				}
			}
		}
	}()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(40*time.Second)))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	require.NoError(t, err, "answered, or closed, in time")
	require.Contains(t, string(buf[:n]), "400 Bad Request")
}

// One id and one trace from the page's request to what the tool's credential
// cost, in every log line on the way.
func TestOneRequestIDToTheCredential(t *testing.T) {
	model, use := spy(t, func([]byte) {})
	a, logs := newApp(t, "-model", model)
	use(a)
	b := newBrowser(t, a)
	b.signIn("alice")
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	resp := b.open(t.Context(), http.MethodPost, "/chat", map[string]any{
		"session_id": "c", "input": []any{map[string]any{"role": "user", "content": []any{map[string]any{"type": "text", "text": "How's the weather today?"}}}},
	}, "SESSION-ID", b.handle, "X-Request-Id", "request-0001", "Traceparent", parent)
	_, _ = io.Copy(io.Discard, resp.Body)
	require.NoError(t, resp.Body.Close())
	for _, want := range []string{`service=backend method=POST path=/chat`, `service=agent method=POST path=/process`, "tool=weather_search", "op=GetResourceAPIKey", "op=GetWorkloadAccessTokenForJWT"} {
		found := false
		for line := range strings.Lines(logs.String()) {
			found = found || strings.Contains(line, want) && strings.Contains(line, " request_id=request-0001") && strings.Contains(line, "trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
		}
		require.True(t, found, "%s in\n%s", want, logs.String())
	}
}

// An AI gateway is one more MCP server: it takes the agent's workload access
// token, which says for whom it calls, and nobody is asked for consent.
func TestAIGateway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	t.Setenv("DEMO_MCP_SERVER", "http://"+addr+"/mcp/gateway")
	a, _ := newApp(t, "-cloud-addr", addr)
	require.Equal(t, "http://"+addr+"/mcp/gateway", a.cloud.GatewayURL())
	for _, user := range []string{"alice", "bob"} {
		b := newBrowser(t, a)
		b.signIn(user)
		got := b.say("Call whoami", nil)
		require.Len(t, got.outputs, 1, got.text)
		require.Equal(t, "whoami", got.outputs[0].Name)
		require.Contains(t, got.outputs[0].Output, user)
		require.Empty(t, got.asks)
	}
}

// The AgentRun variant with an agent that speaks chat completions: ours.
func TestAgentRunVariant(t *testing.T) {
	t.Setenv("AGENT_FRAMEWORK", "agentRun")
	a, _ := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	asked := 0
	resp := b.chat(t.Context(), "What time is it now?")
	defer resp.Body.Close()
	var text strings.Builder
	for ev, err := range sse.Read(resp.Body, 0) {
		require.NoError(t, err)
		if ev.Data == nil || string(ev.Data) == "[DONE]" {
			continue
		}
		var auth protocol.Authorization
		require.NoError(t, json.Unmarshal(ev.Data, &auth))
		if auth.Object == protocol.ObjectAuthorization && auth.Status == protocol.StatusInProgress {
			asked++
			status, page := b.consent(auth, "allow")
			require.Equal(t, 200, status, page)
		}
		var c chatChunk
		require.NoError(t, json.Unmarshal(ev.Data, &c))
		if len(c.Choices) > 0 {
			text.WriteString(c.Choices[0].Delta.Content)
		}
	}
	require.Equal(t, 1, asked)
	require.Contains(t, text.String(), "Asia/Shanghai")
}
