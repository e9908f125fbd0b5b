// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/llm"
)

func newModel(t *testing.T, handler http.HandlerFunc) *llm.Client {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	c, err := llm.New(llm.Config{BaseURL: srv.URL + "/api/v1", APIKey: llm.StaticKey(identity.NewSecret("sk-test"))})
	require.NoError(t, err)
	return c
}

func ask(text string) *llm.Request {
	return &llm.Request{Messages: []llm.Message{{Role: llm.RoleUser, Content: text}}}
}

func TestTheRequestOnTheWire(t *testing.T) {
	var header http.Header
	var path, body string
	model := newModel(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		header, path, body = r.Header.Clone(), r.URL.Path, string(b)
		_, _ = io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}}\n\n")
	})
	_, err := llm.Collect(model.Stream(t.Context(), &llm.Request{
		Messages: []llm.Message{
			{Role: llm.RoleSystem, Content: "…"},
			{Role: llm.RoleUser, Content: "weather in sf?"},
			{Role: llm.RoleAssistant, Reasoning: "never sent", ToolCalls: []llm.ToolCall{{ID: "call_1", Name: "weather_search", Arguments: `{"query": "sf"}`}}},
			{Role: llm.RoleTool, ToolCallID: "call_1", ToolName: "weather_search", Content: "foggy"},
		},
		Tools:          []llm.Tool{{Name: "weather_search", Description: "…", Schema: json.RawMessage(`{"type":"object"}`)}},
		EnableThinking: new(true),
		ToolChoice:     "weather_search",
	}))
	require.NoError(t, err)
	require.Equal(t, "/api/v1/services/aigc/text-generation/generation", path)
	require.Equal(t, "Bearer sk-test", header.Get("Authorization"))
	require.Equal(t, "enable", header.Get("X-DashScope-SSE"))
	require.Equal(t, "text/event-stream", header.Get("Accept"))
	require.JSONEq(t, `{
	  "model": "qwen3-max",
	  "input": {"messages": [
	    {"role": "system", "content": "…"},
	    {"role": "user", "content": "weather in sf?"},
	    {"role": "assistant", "content": [{"text": null}],
	     "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather_search", "arguments": "{\"query\": \"sf\"}"}}]},
	    {"role": "tool", "tool_call_id": "call_1", "name": "weather_search", "content": "foggy"}
	  ]},
	  "parameters": {
	    "result_format": "message", "incremental_output": true, "enable_thinking": true,
	    "tool_choice": {"type": "function", "function": {"name": "weather_search"}},
	    "tools": [{"type": "function", "function": {"name": "weather_search", "description": "…", "parameters": {"type": "object"}}}]
	  }
	}`, body)
}

func TestStreamMerges(t *testing.T) {
	stream := `: keep-alive

id:1
event:result
:HTTP_STATUS/200
data:{"output":{"choices":[{"message":{"content":"","reasoning_content":"hm","role":"assistant"},"finish_reason":"null"}]},"request_id":"r-1"}

data:{"output":{"choices":[{"message":{"content":"Hel"},"finish_reason":"null"}]},"usage":{"input_tokens":26,"output_tokens":1,"total_tokens":27}}

data:{"output":{"choices":[{"message":{"content":[{"text":"lo"}],"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"one","arguments":""}}]},"finish_reason":"null"}]}}

data:{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":0,"id":"","function":{"arguments":"{\"a\":"}},{"index":1,"id":"call_b","function":{"name":"two","arguments":"{}"}}]},"finish_reason":"null"}]}}

data:{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":0,"id":"call_a","function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}]},"usage":{"input_tokens":26,"output_tokens":9,"total_tokens":35,"prompt_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":2}}}

`
	model := newModel(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, stream) })
	got, err := llm.Collect(model.Stream(t.Context(), ask("x")))
	require.NoError(t, err)
	require.Equal(t, &llm.Response{
		Message: llm.Message{
			Role: llm.RoleAssistant, Content: "Hello", Reasoning: "hm",
			ToolCalls: []llm.ToolCall{{ID: "call_a", Name: "one", Arguments: `{"a":1}`}, {ID: "call_b", Name: "two", Arguments: "{}"}},
		},
		FinishReason: "tool_calls", RequestID: "r-1",
		Usage: llm.Usage{InputTokens: 26, OutputTokens: 9, TotalTokens: 35, CachedTokens: 4, ReasoningTokens: 2},
	}, got)
}

func TestErrorShapes(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		want       llm.Error
		kind       error
	}{
		{"native", `{"code":"InvalidApiKey","message":"no","request_id":"r"}`, 401, llm.Error{StatusCode: 401, Code: "InvalidApiKey", Message: "no", RequestID: "r"}, llm.ErrInvalidKey},
		{
			"stream events that say they are JSON", "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\"bad\",\"request_id\":\"r\"}\n", 400,
			llm.Error{StatusCode: 400, Code: "InvalidParameter", Message: "bad", RequestID: "r"},
			llm.ErrInvalidRequest,
		},
		{"compatible", `{"error":{"message":"no model","type":"invalid_request_error","code":"model_not_found"},"request_id":"r"}`, 404, llm.Error{StatusCode: 404, Code: "model_not_found", Message: "no model", RequestID: "r"}, llm.ErrModelNotFound},
		{"compatible without code", `{"error":{"message":"m","type":"access_denied","code":null}}`, 403, llm.Error{StatusCode: 403, Code: "access_denied", Message: "m"}, llm.ErrAccessDenied},
		{"within a stream", "event:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling.RateQuota\",\"message\":\"slow\"}\n\n", 200, llm.Error{StatusCode: 429, Code: "Throttling.RateQuota", Message: "slow"}, llm.ErrThrottled},
		{"within a stream, no status", "event:error\ndata:{\"code\":\"DataInspectionFailed\",\"message\":\"blocked\"}\n\n", 200, llm.Error{StatusCode: 500, Code: "DataInspectionFailed", Message: "blocked"}, llm.ErrContentBlocked},
		{"billing despite 429", `{"code":"PostpaidBillOverdue","message":"pay"}`, 429, llm.Error{StatusCode: 429, Code: "PostpaidBillOverdue", Message: "pay"}, llm.ErrBilling},
		{"html", `<html>`, 400, llm.Error{StatusCode: 400, Message: "Bad Request: the answer is not an error of the model service"}, llm.ErrInvalidRequest},
		{"empty", ``, 403, llm.Error{StatusCode: 403, Message: "Forbidden: the answer is not an error of the model service"}, llm.ErrAccessDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			model := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := llm.Collect(model.Stream(t.Context(), ask("x")))
			var got *llm.Error
			require.ErrorAs(t, err, &got)
			require.Equal(t, tt.want, *got)
			require.ErrorIs(t, err, tt.kind)
			require.NotContains(t, err.Error(), "sk-test")
		})
	}
}

func TestRetriesBeforeTheFirstByteOnly(t *testing.T) {
	var n atomic.Int32
	model := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			w.WriteHeader(503)
			_, _ = io.WriteString(w, `{"code":"ModelUnavailable","message":"later"}`)
			return
		}
		_, _ = io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"partial\"},\"finish_reason\":\"null\"}]}}\n\n")
	})
	got, err := llm.Collect(model.Stream(t.Context(), ask("x")))
	require.ErrorIs(t, err, llm.ErrUnavailable)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "partial", got.Message.Content, "what arrived is not lost")
	require.Equal(t, int32(3), n.Load())

	n.Store(-100)
	refusing := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"code":"InvalidApiKey"}`)
	})
	_, err = refusing.Complete(t.Context(), ask("x"))
	require.ErrorIs(t, err, llm.ErrInvalidKey)
	require.Equal(t, int32(-99), n.Load())
}

func TestLeavingTheLoopCancels(t *testing.T) {
	gone := make(chan struct{})
	model := newModel(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for i := 0; ; i++ {
			_, err := fmt.Fprintf(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"%d\"},\"finish_reason\":\"null\"}]}}\n\n", i)
			if err != nil || http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
				return
			}
		}
	})
	for chunk, err := range model.Stream(t.Context(), ask("x")) {
		require.NoError(t, err)
		require.Equal(t, "0", chunk.Content)
		break
	}
	<-gone

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := llm.Collect(model.Stream(ctx, ask("x")))
	require.Equal(t, context.Canceled, err)
}

func TestKeysAreAskedForEachRequest(t *testing.T) {
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, `{"output":{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}}`)
	}))
	defer srv.Close()
	n := 0
	model, err := llm.New(llm.Config{BaseURL: srv.URL, APIKey: func(context.Context) (identity.Secret, error) {
		n++
		if n > 2 {
			return identity.Secret{}, errors.New("vault is closed")
		}
		return identity.NewSecret(fmt.Sprint("k", n)), nil
	}})
	require.NoError(t, err)
	for range 2 {
		_, err := model.Complete(t.Context(), ask("x"))
		require.NoError(t, err)
	}
	_, err = model.Complete(t.Context(), ask("x"))
	require.ErrorContains(t, err, "vault is closed")
	require.Equal(t, []string{"Bearer k1", "Bearer k2"}, got)
}

func TestConfig(t *testing.T) {
	key := llm.StaticKey(identity.Secret{})
	for _, cfg := range []llm.Config{{}, {APIKey: key, BaseURL: "http://dashscope.aliyuncs.com"}, {APIKey: key, BaseURL: "x"}} {
		_, err := llm.New(cfg)
		require.Error(t, err)
	}
	model, err := llm.New(llm.Config{APIKey: key})
	require.NoError(t, err)
	_, err = model.Complete(t.Context(), ask("x"))
	require.ErrorContains(t, err, "DASHSCOPE_API_KEY")
	_, err = model.Complete(t.Context(), &llm.Request{})
	require.ErrorContains(t, err, "no messages")
}

func FuzzStream(f *testing.F) {
	f.Add("data:{\"output\":{\"choices\":[{\"message\":{\"tool_calls\":[{\"index\":-1}]},\"finish_reason\":\"stop\"}]}}\n\n")
	f.Add("event:error\n:HTTP_STATUS/999\ndata:{}\n\n")
	f.Fuzz(func(t *testing.T, body string) {
		model, err := llm.New(llm.Config{
			BaseURL: "http://127.0.0.1", Retries: new(0), APIKey: llm.StaticKey(identity.NewSecret("k")),
			HTTPClient: &http.Client{Transport: canned(body)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if resp, _ := llm.Collect(model.Stream(t.Context(), ask("x"))); resp == nil {
			t.Fatal("no response")
		}
	})
}

type canned string

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}

func TestImages(t *testing.T) {
	var path, body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(b)
		_, _ = io.WriteString(w, "data:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a cat\"}]},\"finish_reason\":\"stop\"}]}}\n\n")
	}))
	defer srv.Close()
	ask := func(model, image string) (*llm.Response, error) {
		c, err := llm.New(llm.Config{BaseURL: srv.URL + "/api/v1", Model: model, APIKey: llm.StaticKey(identity.NewSecret("sk-test"))})
		require.NoError(t, err)
		return llm.Collect(c.Stream(t.Context(), &llm.Request{Messages: []llm.Message{
			{Role: llm.RoleSystem, Content: "be brief"},
			{Role: llm.RoleUser, Content: "what is this?", Images: []string{image}},
			{Role: llm.RoleAssistant, ToolCalls: []llm.ToolCall{{ID: "1", Name: "zoom", Arguments: "{}"}}},
		}}))
	}
	got, err := ask("qwen3-vl-plus", "data:image/png;base64,AAAA")
	require.NoError(t, err)
	require.Equal(t, "a cat", got.Message.Content)
	require.Equal(t, "/api/v1/services/aigc/multimodal-generation/generation", path)
	var sent struct {
		Input struct{ Messages json.RawMessage }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &sent))
	require.JSONEq(t, `[
	  {"role": "system", "content": [{"text": "be brief"}]},
	  {"role": "user", "content": [{"image": "data:image/png;base64,AAAA"}, {"text": "what is this?"}]},
	  {"role": "assistant", "content": [], "tool_calls": [{"id": "1", "type": "function", "function": {"name": "zoom", "arguments": "{}"}}]}
	]`, string(sent.Input.Messages))
	_, err = ask("qwen3-max", "https://example.com/cat.png")
	require.ErrorContains(t, err, "sees no images")
	_, err = ask("qwen-vl-max", "file:///etc/passwd")
	require.ErrorContains(t, err, "want an http address")
}
