// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

func TestModelFailuresAreVisible(t *testing.T) {
	mode := ""
	model := modelServer(t, func(w http.ResponseWriter, _ *http.Request) {
		switch mode {
		case "key":
			w.WriteHeader(401)
			io.WriteString(w, `{"code":"InvalidApiKey","message":"bad key","request_id":"r"}`)
		case "cut":
			io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"half an ans\"},\"finish_reason\":\"null\"}]}}\n\n")
		case "blocked":
			io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"so far\"},\"finish_reason\":\"null\"}]}}\n\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"DataInspectionFailed\",\"message\":\"no\"}\n\n")
		default:
			io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"well again\"},\"finish_reason\":\"stop\"}]}}\n\n")
		}
	})
	a, logs := newApp(t, "-model", model)
	b := newBrowser(t, a)
	b.signIn("alice")
	for m, want := range map[string][2]string{
		"key": {"MODEL_AUTH_FAILED", ""}, "cut": {"MODEL_UNAVAILABLE", "half an ans"}, "blocked": {"MODEL_CONTENT_BLOCKED", "so far"},
	} {
		mode = m
		got := b.say("hello", nil)
		require.Equal(t, protocol.StatusFailed, got.response.Status, m)
		require.Equal(t, want[0], got.failure.Code, m)
		require.NotEmpty(t, got.failure.Message)
		require.Equal(t, want[1], got.text, "what arrived stays")
	}
	require.Contains(t, logs.String(), "answer failed")
	mode = ""
	require.Equal(t, "well again", b.say("hello", nil).text, "the service goes on")
}

func TestToolFailuresAreToldAndTheServiceGoesOn(t *testing.T) {
	a, logs := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	// The vault now has a key that the resource does not take: the provider's
	// key differs from the one the resource knows.
	a.cloud.AddAPIKeyProvider(identitytest.APIKeyProvider, identity.NewSecret("key-one"))
	require.Contains(t, b.say("How's the weather in Paris?", nil).text, "Paris")
	a.cloud.AddAPIKeyProvider(identitytest.APIKeyProvider, identity.NewSecret("key-two"))
	got := b.say("How's the weather in Rome?", nil)
	require.Contains(t, got.text, "Rome", "the rejected key was replaced")
	got = b.say("What's my schedule, date: someday", nil)
	require.Equal(t, protocol.StatusCompleted, got.response.Status)
	require.Contains(t, got.outputs[0].Output, "InvalidDate")
	require.Contains(t, got.text, "could not")
	require.Contains(t, logs.String(), "tool failed")
	require.NotContains(t, logs.String(), "key-one")
	require.NotContains(t, logs.String(), "key-two")
}

func TestRequestsThatAreWrong(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	const chat = `{"session_id":null,"input":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`
	status, body := b.do(http.MethodPost, "/chat", chat)
	require.Equal(t, 401, status)
	require.JSONEq(t, `{"detail":"User not logged in"}`, body)
	b.signIn("alice")
	for _, tt := range []struct {
		name, body string
		header     []string
		status     int
		detail     string
	}{
		{"no handle", chat, nil, 401, "User not logged in"},
		{"another handle", chat, []string{"SESSION-ID", "f00"}, 401, "Invalid session"},
		{"malformed JSON", `{"input":`, []string{"SESSION-ID", b.handle}, 422, "not a JSON object"},
		{"no JSON type", chat, []string{"SESSION-ID", b.handle, "Content-Type", "text/plain"}, 415, "application/json"},
		{"no session_id key", `{"input":[{}]}`, []string{"SESSION-ID", b.handle}, 422, "session_id"},
		{"wrong session_id", `{"input":[{}],"session_id":7}`, []string{"SESSION-ID", b.handle}, 422, "session_id"},
		{"header injection", `{"input":[{}],"session_id":"a\r\nX: y"}`, []string{"SESSION-ID", b.handle}, 422, "session_id"},
		{"no input", `{"session_id":null}`, []string{"SESSION-ID", b.handle}, 422, "input"},
		{"too large", `{"session_id":null,"input":["` + strings.Repeat("x", 3<<20) + `"]}`, []string{"SESSION-ID", b.handle}, 413, "too large"},
		{"another site", chat, []string{"SESSION-ID", b.handle, "Origin", "https://evil.example.com"}, 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := b.do(http.MethodPost, "/chat", tt.body, tt.header...)
			require.Equal(t, tt.status, status, body)
			require.Contains(t, body, tt.detail)
		})
	}
	// What only the agent finds wrong comes within the stream.
	resp := b.open(t.Context(), http.MethodPost, "/chat", `{"session_id":null,"input":[{"role":"user","content":"a text"}]}`, "SESSION-ID", b.handle)
	defer resp.Body.Close()
	got := b.read(resp.Body, nil)
	require.Equal(t, protocol.StatusFailed, got.response.Status)
	require.Equal(t, "AGENT_REFUSED", got.failure.Code)
	require.Equal(t, protocol.StatusCompleted, b.say("How's the weather?", nil).response.Status, "the service goes on")
}

func TestTheAgentVerifiesForItself(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	token := a.cloud.IDToken("alice").Reveal()
	parts := strings.Split(token, ".")
	other := identitytest.NewServer(t).IDToken("alice").Reveal()
	process := func(userID string) (int, string) {
		return b.do(http.MethodPost, a.agentURL+"/process", fmt.Sprintf(
			`{"session_id":"s","user_id":%q,"input":[{"role":"user","content":[{"type":"text","text":"hello"}]}]}`, userID))
	}
	for name, userID := range map[string]string{
		"none": "", "plain id": "alice", "other issuer": other, "cut": parts[0] + "." + parts[1] + ".",
		"alg none":        "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"changed payload": parts[0] + ".eyJzdWIiOiJib2IifQ." + parts[2],
	} {
		status, body := process(userID)
		require.Equal(t, 401, status, name)
		require.Contains(t, body, "user_id", name)
	}
	status, body := process(token)
	require.Equal(t, 200, status)
	require.Contains(t, body, `"status":"completed"`)
	for _, wrong := range []string{`{`, `[]`, `{"input":[]}`, `{"input":7}`, `{"input":[{"role":"user","content":[{"type":"file","file_url":"x"}]}]}`} {
		status, body := b.do(http.MethodPost, a.agentURL+"/process", wrong)
		require.Equal(t, 422, status, "%s: %s", wrong, body)
	}
	status, _ = b.do(http.MethodPost, a.agentURL+"/process", `{"input":"`+strings.Repeat("x", 5<<20)+`"}`)
	require.Equal(t, 413, status)
	status, body = b.do(http.MethodGet, a.agentURL+"/health", nil)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"healthy","mode":"daemon_thread","runner":"ready"}`, body)
	status, body = b.do(http.MethodGet, "/health", nil)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"healthy"}`, body)
}

func TestAnUnreachableAgent(t *testing.T) {
	a, logs := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	require.NoError(t, a.agent.http.Close())
	got := b.say("hello", nil)
	require.Equal(t, protocol.StatusFailed, got.response.Status)
	require.Equal(t, "AGENT_UNREACHABLE", got.failure.Code)
	require.Contains(t, logs.String(), "AGENT_UNREACHABLE")
	status, _ := b.do(http.MethodGet, "/health", nil)
	require.Equal(t, 200, status)
}
