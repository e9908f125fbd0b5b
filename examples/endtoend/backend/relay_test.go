// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
)

func TestWeakness28TheAgentsStatusIsNoticed(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	for status, code := range map[int]string{401: "LOGIN_EXPIRED", 409: "AGENT_REFUSED", 500: "AGENT_ERROR", 302: "AGENT_ERROR"} {
		s.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example.com/")
			http.Error(w, `{"detail":"why"}`, status)
		})
		got, header, body := b.do("POST", "/chat", hi)
		require.Equal(t, 200, got)
		require.Contains(t, header.Get("Content-Type"), "text/event-stream")
		require.Contains(t, body, code)
		require.True(t, strings.HasSuffix(body, "data: [DONE]\n\n"), "every line is one of an event stream: %q", body)
		for line := range strings.Lines(body) {
			require.True(t, line == "\n" || strings.HasPrefix(line, "data: "), "%q", line)
		}
	}
	for _, h := range chats(t, b) {
		_, _, body := b.do("GET", "/chats/"+h.ID, "")
		require.NotContains(t, body, "LOGIN_EXPIRED", "what is asked again is not kept")
		require.Contains(t, body, "AGENT_ERROR")
	}
	// An agent that ends without an end, and one that sends no event at all.
	for _, text := range []string{"", "data: {\"object\":\"message\"}\n\n", "data: no json\n\n", "data: {\"error\":\"it broke\"}\n\n"} {
		s.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
		_, _, body := b.do("POST", "/chat", hi)
		require.Contains(t, body, `"status":"failed"`, "%q", text)
	}
}

func TestWeakness29EventsNotPiecesAreRelayed(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		const stream = ": beat\r\n\r\ndata: {\"object\":\"content\",\"type\":\"text\",\"delta\":true,\"msg_id\":\"m\",\"text\":\"你好\"}\r\n\r\ndata: {\"object\":\"response\",\r\ndata: \"status\":\"completed\"}\r\n\r\n"
		for i := range len(stream) { // a byte at a time, in the middle of characters, too
			_, _ = w.Write([]byte{stream[i]})
			w.(http.Flusher).Flush()
		}
	})
	_, _, body := b.do("POST", "/chat", hi)
	require.Contains(t, body, "你好")
	require.Contains(t, body, "data: {\"object\":\"response\",\ndata: \"status\":\"completed\"}\n\n")
	require.NotContains(t, body, "\r")
	require.NotContains(t, body, "failed")
}

// The original's agent, as the reference shows it: its events reach the page as
// they are, byte by byte.
func TestTheOriginalAgent(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	lines := []string{
		`{"sequence_number":0,"object":"response","status":"created","error":null,"id":"response_1","created_at":1700000000,"completed_at":null,"output":null,"usage":null,"session_id":"chat-1"}`,
		`{"sequence_number":2,"object":"message","status":"in_progress","error":null,"id":"msg_1","type":"message","role":"assistant","content":null,"code":null,"message":null,"usage":null,"metadata":null}`,
		`{"sequence_number":3,"object":"content","status":"in_progress","error":null,"type":"text","index":0,"delta":true,"msg_id":"msg_1","text":"需要授权 Please authorize: https://example.com/a?b=c&d=<e>"}`,
		`{"sequence_number":4,"object":"content","status":"completed","error":null,"type":"text","index":0,"delta":false,"msg_id":"msg_1","text":"x"}`,
		`{"sequence_number":5,"object":"content","status":null,"error":null,"type":"data","index":0,"delta":null,"msg_id":null,"data":{"call_id":"c","name":"t","arguments":"{\"a\": 1}"}}`,
		`{"sequence_number":6,"object":"response","status":"completed","error":null,"id":"response_1","created_at":1700000000,"completed_at":1700000001,"output":[],"usage":null,"session_id":"chat-1"}`,
	}
	var sent map[string]any
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		readJSON(t, r, &sent)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, line := range lines {
			fmt.Fprintf(w, "data: %s\n\n", line)
		}
	})
	_, _, body := b.do("POST", "/chat", hi)
	require.Equal(t, "data: "+strings.Join(lines, "\n\ndata: ")+"\n\ndata: [DONE]\n\n", body)
	require.Equal(t, "chat-1", sent["session_id"])
	require.Equal(t, 3, len(strings.Split(sent["user_id"].(string), ".")), "the ID token")
	require.IsType(t, []any{}, sent["input"])
}

// The AgentRun variant, as the reference describes it.
func TestAgentRun(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Framework = AgentRun })
	b := s.browser()
	b.signIn(nil, "")
	var got struct {
		Stream   bool
		Messages []struct {
			Role    string
			Content []struct {
				Type, Text string
				UserID     string `json:"user_id"`
			}
		}
	}
	var header http.Header
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		readJSON(t, r, &got)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"agentrun\",\"choices\":[{\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n"+
			"data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"agentrun\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	})
	// As the original page sends it: its history, encoded twice.
	const history = `[{\"id\":\"1\",\"role\":\"user\",\"cards\":[{\"code\":\"Text\",\"data\":{\"content\":\"old\"}}]},{\"id\":\"2\",\"role\":\"user\",\"content\":\"\",\"cards\":[{\"code\":\"Text\",\"data\":{\"content\":\"the last\"}}]}]`
	_, _, body := b.do("POST", "/chat", `{"session_id":"1700000000000","input":[{"role":"user","content":[{"type":"text","text":"`+history+`","user_id":"seeq"}]}]}`)
	require.Contains(t, body, `"content":"Hello"`)
	require.Equal(t, 1, strings.Count(body, "[DONE]"))
	require.NotContains(t, body, "failed")
	require.True(t, got.Stream)
	require.Len(t, got.Messages, 1)
	require.Equal(t, "the last", got.Messages[0].Content[0].Text)
	token := got.Messages[0].Content[0].UserID
	require.NotEmpty(t, token)
	require.Equal(t, "Bearer "+token, header.Get("Authorization"))
	require.Equal(t, "1700000000000", header.Get("X-App-Custom-Session-Id"))
	require.Equal(t, []chatHead{{ID: "1700000000000", Title: "the last", At: chats(t, b)[0].At}}, chats(t, b))
}

// The request's id and trace go from the page's request to the agent and the
// log; what is not one is not believed.
func TestTracesArePassedOn(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	var header http.Header
	s.answers(func(w http.ResponseWriter, r *http.Request) { header = r.Header.Clone(); says("x")(w, r) })
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	_, answer, _ := b.do("POST", "/chat", hi, "X-Request-Id", "request-0001", "Traceparent", parent, "Tracestate", "vendor=1")
	require.Equal(t, "request-0001", answer.Get("X-Request-Id"))
	require.Equal(t, []string{"request-0001", parent, "vendor=1"}, []string{header.Get("X-Request-Id"), header.Get("Traceparent"), header.Get("Tracestate")})
	require.Contains(t, s.logs.String(), "request_id=request-0001 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")

	_, answer, _ = b.do("POST", "/chat", hi, "X-Request-Id", `evil" level=ERROR`, "Traceparent", "no trace", "Tracestate", "vendor=2")
	require.Regexp(t, `^[0-9a-f]+$`, answer.Get("X-Request-Id"))
	require.Equal(t, answer.Get("X-Request-Id"), header.Get("X-Request-Id"))
	require.Empty(t, header.Get("Traceparent"))
	require.Empty(t, header.Get("Tracestate"))
	require.NotContains(t, s.logs.String(), "evil")
}

// Whoever leaves stops the agent's work; what was said until then is kept.
func TestLeavingStopsTheAgent(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	stopped := make(chan struct{})
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: {\"object\":\"content\",\"type\":\"text\",\"delta\":true,\"msg_id\":\"m\",\"text\":\"so far\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(stopped)
	})
	req, err := http.NewRequest("POST", s.server.URL+"/chat", strings.NewReader(hi))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("SESSION-ID", b.handle)
	resp, err := b.http.Do(req)
	require.NoError(t, err)
	buf := make([]byte, 10)
	_, err = resp.Body.Read(buf)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the agent was not told")
	}
	require.Eventually(t, func() bool {
		_, _, body := b.do("GET", "/chats/chat-1", "")
		return strings.Contains(body, "so far")
	}, 10*time.Second, 20*time.Millisecond)
}

// Chats are bounded: of a user, of a chat, of an exchange.
func TestChatsAreBounded(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Chats = -1; c.Limits.Requests = -1 })
	b := s.browser()
	b.signIn(nil, "")
	for i := range maxChats + 5 {
		b.do("POST", "/chat", strings.Replace(hi, "chat-1", fmt.Sprint("chat-", i), 1))
	}
	list := chats(t, b)
	require.Len(t, list, maxChats)
	require.Equal(t, fmt.Sprint("chat-", maxChats+4), list[0].ID, "the youngest first")
	_, _, body := b.do("GET", "/chats/chat-0", "")
	require.Contains(t, body, `"exchanges":[]`)
	s.answers(says(strings.Repeat("long ", 60_000))) // 300 kB
	for range 6 {
		b.do("POST", "/chat", strings.Replace(hi, "chat-1", "long", 1))
	}
	_, _, body = b.do("GET", "/chats/long", "")
	require.Less(t, len(body), maxChatBytes+100_000)
	require.Greater(t, strings.Count(body, `"question"`), 1)
	// Deleting.
	status, _, _ := b.do("DELETE", "/chats/long", "")
	require.Equal(t, 200, status)
	_, _, body = b.do("GET", "/chats/long", "")
	require.Contains(t, body, `"exchanges":[]`)
	require.Len(t, chats(t, b), maxChats-1)
}

// What is kept shows an answer as it was, in far fewer events.
func TestRecorder(t *testing.T) {
	var c recorder
	var data [][]byte
	stream := protocol.NewStream("s", func(b []byte) error { data = append(data, b); return nil })
	for range 100 {
		require.NoError(t, stream.Text("word "))
	}
	require.NoError(t, stream.CloseText())
	require.NoError(t, stream.ToolCalls([]protocol.ToolCall{{CallID: "c", Name: "tool", Arguments: "{}"}}))
	require.NoError(t, stream.Authorization(protocol.Authorization{Status: protocol.StatusInProgress, ID: "a", URL: "https://example.com/secret"}))
	require.NoError(t, stream.ToolOutput("c", "tool", "result"))
	require.NoError(t, stream.Complete())
	for _, d := range data {
		e := decode(t, d)
		c.record(e, d)
	}
	c.flush()
	var all strings.Builder
	for _, e := range c.events {
		all.Write(e)
		all.WriteByte('\n')
	}
	require.Len(t, c.events, 6, all.String())
	require.Contains(t, all.String(), strings.Repeat("word ", 100))
	require.Contains(t, all.String(), `"call_id":"c"`)
	require.Contains(t, all.String(), "result")
	require.NotContains(t, all.String(), "secret")
}

// The original's page sets styles inline and loads icons from elsewhere: with
// another page that is allowed, scripts from elsewhere are not.
func TestAnotherPage(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(folder+"/index.html", []byte("another page"), 0o600))
	s := newSite(t, func(c *Config) { c.Frontend, c.OtherFrontend = os.DirFS(folder), true })
	_, header, body := s.browser().do("GET", "/authorize", "")
	require.Equal(t, "another page", body)
	policy := header.Get("Content-Security-Policy")
	require.Contains(t, policy, "style-src 'self' 'unsafe-inline'")
	require.Contains(t, policy, "default-src 'self'")
	require.NotContains(t, policy, "script-src")
	for _, outside := range []string{"/../site_test.go", "/%2e%2e/site_test.go", "/..%2fsite_test.go"} {
		_, _, body := s.browser().do("GET", outside, "")
		require.NotContains(t, body, "package", outside)
	}
	// Ours is sent compressed to those who take it.
	s = newSite(t, func(c *Config) {
		c.Frontend = fstest.MapFS{"index.html": {Data: []byte("x")}, "assets/a.js": {Data: []byte(strings.Repeat("var a;", 1000))}}
	})
	_, header, body = s.browser().do("GET", "/assets/a.js", "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", header.Get("Content-Encoding"))
	require.Contains(t, header.Get("Content-Type"), "javascript")
	require.Less(t, len(body), 200)
	_, header, _ = s.browser().do("GET", "/assets/a.js", "", "Accept-Encoding", "gzip;q=0, identity")
	require.Empty(t, header.Get("Content-Encoding"))
}

// Whatever an agent sends, what is kept of it is JSON.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"object":"content","type":"text","delta":true,"msg_id":"m","text":"x"}`))
	f.Add([]byte(`{"object":"authorization","status":"in_progress","url":7}`))
	f.Add([]byte(`{"object":"chat.completion.chunk","choices":[{"finish_reason":7}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e event
		if err := json.Unmarshal(data, &e); err != nil {
			if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); !wrongType {
				return
			}
		}
		var c recorder
		c.record(&e, data)
		c.record(&e, data)
		c.flush()
		for _, kept := range c.events {
			require.True(t, json.Valid(kept), "%q", kept)
		}
	})
}

// "Not now" reaches an agent that shares no store with the backend.
func TestNotNowReachesTheAgent(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(nil, "")
	told := make(chan string, 1)
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/consents/") {
			told <- r.URL.Path + " " + strings.SplitN(r.Header.Get("Authorization"), ".", 2)[0]
			return
		}
		fmt.Fprint(w, "data: {\"object\":\"authorization\",\"status\":\"in_progress\",\"id\":\"a\",\"tool_name\":\"docs\",\"provider\":\"p\",\"scopes\":[\"s\"],\"url\":\"https://example.com/a\",\"session_uri\":\"urn:1\"}\n\ndata: {\"object\":\"response\",\"status\":\"completed\"}\n\n")
	})
	_, _, body := b.do("POST", "/chat", hi)
	require.NotContains(t, body, "urn:1")
	require.NotContains(t, body, "example.com")
	_, rest, found := strings.Cut(body, "/consent/")
	require.True(t, found, body)
	id, _, _ := strings.Cut(rest, `"`)
	for _, other := range []*browser{s.browser(), func() *browser { o := s.browser(); o.signIn(map[string]any{"sub": "bob"}, ""); return o }()} {
		status, _, _ := other.do("POST", "/consent/"+id+"/decline", "")
		require.Equal(t, 404, status)
	}
	require.Empty(t, told)
	status, _, body := b.do("POST", "/consent/"+id+"/decline", "")
	require.Equal(t, 200, status, body)
	require.Regexp(t, `^/consents/`+id+`/decline Bearer eyJ`, <-told)
	status, _, _ = b.do("GET", "/consent/"+id, "")
	require.Equal(t, 404, status, "it is not open any more")
}
