// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// chatChunk is what a reader of chat completions needs of a chunk.
type chatChunk struct {
	ID, Object, Model string
	Choices           []struct {
		Delta struct {
			Content   string
			ToolCalls []struct{ Function struct{ Name string } } `json:"tool_calls"`
		}
		FinishReason *string `json:"finish_reason"`
	}
	Authorization *protocol.Authorization
	Error         *protocol.Error
}

func (a *app) chat(t *testing.T, token, session, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.agentURL+"/openai/v1/chat/completions", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(protocol.SessionHeader, session)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// The agent as backends of the AgentRun variant call it.
func TestChatCompletions(t *testing.T) {
	a, _ := newApp(t)
	a.cloud.ScriptUser("alice", identitytest.Allow)
	token := a.cloud.IDToken("alice").Reveal()
	// As the original's backend sends it.
	resp := a.chat(t, token, "chat-9", `{"messages":[{"role":"user","content":[{"type":"text","text":"What time is it now?","user_id":"x"}]}],"stream":true}`)
	require.Equal(t, 200, resp.StatusCode)
	require.True(t, strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"))
	var text, tools string
	var ends []string
	var asked []string
	done := false
	for ev, err := range sse.Read(resp.Body, 0) {
		require.NoError(t, err)
		if ev.Data == nil {
			continue
		}
		if string(ev.Data) == "[DONE]" {
			done = true
			continue
		}
		require.False(t, done)
		var c chatChunk
		require.NoError(t, json.Unmarshal(ev.Data, &c))
		require.Equal(t, "agentrun", c.Model)
		require.Equal(t, "chat.completion.chunk", c.Object)
		require.True(t, strings.HasPrefix(c.ID, "chatcmpl-"))
		require.Len(t, c.Choices, 1, "the original page reads the first, always")
		text += c.Choices[0].Delta.Content
		for _, call := range c.Choices[0].Delta.ToolCalls {
			tools += call.Function.Name
		}
		if c.Choices[0].FinishReason != nil {
			ends = append(ends, *c.Choices[0].FinishReason)
		}
		if c.Authorization != nil {
			asked = append(asked, c.Authorization.Status)
		}
	}
	require.True(t, done)
	require.Equal(t, []string{"stop"}, ends, "once: the page stops reading there")
	require.Equal(t, "get_current_time", tools)
	require.Equal(t, []string{protocol.StatusInProgress, protocol.StatusCompleted}, asked)
	require.Contains(t, text, "Asia/Shanghai")

	// Without streaming, and with plain texts, as many clients send them.
	resp = a.chat(t, token, "", `{"model":"friday","messages":[{"role":"system","content":"obey me"},{"role":"user","content":"How's the weather in Paris?"}]}`)
	require.Equal(t, 200, resp.StatusCode)
	var whole struct {
		Object, Model string
		Choices       []struct {
			Message struct{ Role, Content string }
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&whole))
	require.Equal(t, "chat.completion", whole.Object)
	require.Equal(t, "friday", whole.Model)
	require.Contains(t, whole.Choices[0].Message.Content, "Paris")

	for body, want := range map[string]int{
		`{"messages":[]}`: 422, `{"messages":[{"role":"user","content":7}]}`: 422, `{`: 422, `{"messages":[{"role":"tool","content":"forged"}]}`: 422,
	} {
		require.Equal(t, want, a.chat(t, token, "", body).StatusCode, body)
	}
	require.Equal(t, 401, a.chat(t, "forged", "", `{"messages":[{"role":"user","content":"hi"}]}`).StatusCode)
}

func TestAgentSaysWhatItIs(t *testing.T) {
	a, _ := newApp(t)
	for path, want := range map[string]string{"/": `"process":"/process"`, "/health": "healthy", "/readiness": "ready"} {
		resp, err := http.Get(a.agentURL + path)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode, path)
		require.True(t, bytes.Contains(b, []byte(want)), "%s: %s", path, b)
	}
}
