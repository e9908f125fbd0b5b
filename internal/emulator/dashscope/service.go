// SPDX-License-Identifier: Apache-2.0

// Package dashscope is the local cloud's DashScope endpoint. It speaks the
// native generation API; behind it stands no language model but a rule-based
// simulation, which says so in its answers.
package dashscope

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// Fault is a failure that a test asks for.
type Fault struct {
	Status  int
	Code    string
	Message string
	// MidStream lets the stream begin and fails within it.
	MidStream bool
	// Delay holds the answer back.
	Delay time.Duration
}

// Service is the endpoint.
type Service struct {
	*core.Base
	// ChunkDelay is the pause between two pieces of a stream.
	ChunkDelay time.Duration

	mu     sync.Mutex // guards the rest
	keys   []string
	faults []Fault
}

// New makes a service without keys.
func New(base *core.Base) *Service {
	return &Service{Base: base, ChunkDelay: 8 * time.Millisecond}
}

// AddKey registers an API key.
func (s *Service) AddKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

// FailNext makes the next requests fail, one fault each.
func (s *Service) FailNext(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Routes adds the endpoint to mux.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/v1/services/aigc/text-generation/generation", s.generate)
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

type message struct {
	Role       string          `json:"role"`
	RawContent json.RawMessage `json:"content"`
	ToolCallID string          `json:"tool_call_id"`
	Name       string          `json:"name"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// text joins the text parts of the content.
func (m *message) text() string {
	var s string
	if json.Unmarshal(m.RawContent, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(m.RawContent, &parts)
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.Text
	}
	return strings.Join(texts, "\n")
}

type request struct {
	Model string `json:"model"`
	Input struct {
		Messages []message `json:"messages"`
	} `json:"input"`
	Parameters struct {
		ResultFormat      string `json:"result_format"`
		IncrementalOutput bool   `json:"incremental_output"`
		EnableThinking    bool   `json:"enable_thinking"`
		Tools             []struct {
			Type     string   `json:"type"`
			Function function `json:"function"`
		} `json:"tools"`
		ToolChoice json.RawMessage `json:"tool_choice"`
	} `json:"parameters"`
}

func (s *Service) takeFault() *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return &f
}

func (s *Service) knownKey(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if subtle.ConstantTimeCompare([]byte(k), []byte(key)) == 1 {
			return true
		}
	}
	return false
}

func (s *Service) generate(w http.ResponseWriter, r *http.Request) {
	a := &answer{w: w, requestID: randid.UUID(), stream: r.Header.Get("X-Dashscope-Sse") == "enable", delay: s.ChunkDelay}
	var req request
	status, code := s.serve(r, a, &req)
	s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "model", Op: "Generate", Target: req.Model, Status: status, Code: code})
}

func (s *Service) serve(r *http.Request, a *answer, req *request) (int, string) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !s.knownKey(key) {
		return a.refuse(http.StatusUnauthorized, "InvalidApiKey", "Invalid API-key provided.")
	}
	fault := s.takeFault()
	if fault != nil {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return 499, "Canceled"
		}
		if fault.Status != 0 && !fault.MidStream {
			return a.refuse(fault.Status, fault.Code, fault.Message)
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return a.refuse(http.StatusRequestEntityTooLarge, "BadRequest.TooLarge", "The request is too large.")
	}
	if err := json.Unmarshal(body, req); err != nil {
		return a.refuse(http.StatusBadRequest, "InvalidParameter", "The body is not the JSON that the API documents.")
	}
	switch {
	case req.Model == "":
		return a.refuse(http.StatusBadRequest, "BadRequest.EmptyModel", "The model is missing.")
	case !strings.HasPrefix(req.Model, "qw") && req.Model != "simulated":
		return a.refuse(http.StatusNotFound, "ModelNotFound", fmt.Sprintf("The local cloud has no model %.60q; any qwen name is simulated.", req.Model))
	case len(req.Input.Messages) == 0:
		return a.refuse(http.StatusBadRequest, "BadRequest.EmptyInput", "input.messages is missing.")
	case req.Parameters.ResultFormat != "message":
		return a.refuse(http.StatusBadRequest, "InvalidParameter", "The local cloud supports result_format message.")
	case req.Parameters.EnableThinking && (!a.stream || !req.Parameters.IncrementalOutput):
		return a.refuse(http.StatusBadRequest, "InvalidParameter", "enable_thinking needs streaming with incremental_output.")
	}
	for _, t := range req.Parameters.Tools {
		if t.Type != "function" || t.Function.Name == "" || !json.Valid(t.Function.Parameters) {
			return a.refuse(http.StatusBadRequest, "InvalidParameter", "parameters.tools has an entry that is no function with a schema.")
		}
	}
	for _, m := range req.Input.Messages {
		switch m.Role {
		case "system", "user", "assistant":
		case "tool":
			if m.ToolCallID == "" {
				return a.refuse(http.StatusBadRequest, "InvalidParameter", "A message with the role tool needs a tool_call_id.")
			}
		default:
			return a.refuse(http.StatusBadRequest, "InvalidParameter", fmt.Sprintf("Unknown role %.40q.", m.Role))
		}
	}
	a.incremental = req.Parameters.IncrementalOutput
	a.inputTokens = len(body)/4 + 1
	turn := think(req, s.Clock.Now())
	if fault != nil && fault.MidStream {
		a.failAfter, a.fault = 2, fault
	}
	return a.write(r, turn)
}

// answer writes one answer, as a stream or at once.
type answer struct {
	w           http.ResponseWriter
	requestID   string
	stream      bool
	incremental bool
	delay       time.Duration
	inputTokens int

	fault     *Fault
	failAfter int // pieces before the fault

	started bool
	pieces  int
}

func (a *answer) refuse(status int, code, text string) (int, string) {
	b, _ := json.Marshal(map[string]string{"code": code, "message": text, "request_id": a.requestID})
	if a.started {
		a.pieces++
		fmt.Fprintf(a.w, "id:%d\nevent:error\n:HTTP_STATUS/%d\ndata:%s\n\n", a.pieces, status, b)
		return status, code
	}
	h := a.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Request-Id", a.requestID)
	a.w.WriteHeader(status)
	_, _ = a.w.Write(b)
	return status, code
}

// turn is what the simulated model says.
type turn struct {
	reasoning string
	content   string
	calls     []toolCall
}

type toolCall struct {
	id, name, arguments string
}

func (a *answer) write(r *http.Request, t turn) (int, string) {
	finish := "stop"
	if len(t.calls) > 0 {
		finish = "tool_calls"
	}
	if !a.stream {
		a.w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(a.w).Encode(a.body(t.content, t.reasoning, wireCalls(t.calls), finish, len(t.content)/4+1))
		return http.StatusOK, ""
	}
	h := a.w.Header()
	h.Set("Content-Type", "text/event-stream;charset=UTF-8")
	h.Set("X-Request-Id", a.requestID)
	a.w.WriteHeader(http.StatusOK)
	a.started = true

	type piece struct {
		content, reasoning string
		calls              []map[string]any
	}
	var pieces []piece
	for _, p := range split(t.reasoning) {
		pieces = append(pieces, piece{reasoning: p})
	}
	for _, p := range split(t.content) {
		pieces = append(pieces, piece{content: p})
	}
	for i, call := range t.calls {
		first := wireCall(i, call)
		fn := first["function"].(map[string]any)
		fn["arguments"] = ""
		pieces = append(pieces, piece{calls: []map[string]any{first}})
		for _, p := range split(call.arguments) {
			pieces = append(pieces, piece{calls: []map[string]any{
				{"index": i, "id": "", "type": "function", "function": map[string]any{"arguments": p}},
			}})
		}
	}
	var content, reasoning strings.Builder
	tokens := 0
	for i, p := range pieces {
		if a.fault != nil && i == a.failAfter {
			return a.refuse(a.fault.Status, a.fault.Code, a.fault.Message)
		}
		tokens++
		content.WriteString(p.content)
		reasoning.WriteString(p.reasoning)
		if !a.incremental {
			p.content, p.reasoning = content.String(), reasoning.String()
			if p.calls != nil {
				continue // cumulative calls come whole, at the end
			}
		}
		if !a.event(r, a.body(p.content, p.reasoning, p.calls, "null", tokens)) {
			return 499, "Canceled"
		}
	}
	if a.fault != nil {
		return a.refuse(a.fault.Status, a.fault.Code, a.fault.Message)
	}
	last := a.body("", "", nil, finish, tokens+1)
	if !a.incremental {
		last = a.body(content.String(), reasoning.String(), wireCalls(t.calls), finish, tokens+1)
	}
	if !a.event(r, last) {
		return 499, "Canceled"
	}
	return http.StatusOK, ""
}

// event writes one piece and reports whether anybody still reads.
func (a *answer) event(r *http.Request, body map[string]any) bool {
	b, _ := json.Marshal(body)
	a.pieces++
	fmt.Fprintf(a.w, "id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%s\n\n", a.pieces, b)
	if http.NewResponseController(a.w).Flush() != nil {
		return false
	}
	select {
	case <-time.After(a.delay):
		return true
	case <-r.Context().Done():
		return false
	}
}

func (a *answer) body(content, reasoning string, calls []map[string]any, finish string, tokens int) map[string]any {
	m := map[string]any{"role": "assistant", "content": content}
	if reasoning != "" {
		m["reasoning_content"] = reasoning
	}
	if len(calls) > 0 {
		m["tool_calls"] = calls
	}
	return map[string]any{
		"output":     map[string]any{"choices": []any{map[string]any{"message": m, "finish_reason": finish}}},
		"usage":      map[string]any{"input_tokens": a.inputTokens, "output_tokens": tokens, "total_tokens": a.inputTokens + tokens},
		"request_id": a.requestID,
	}
}

func wireCall(i int, c toolCall) map[string]any {
	return map[string]any{"index": i, "id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": c.arguments}}
}

func wireCalls(calls []toolCall) []map[string]any {
	out := make([]map[string]any, len(calls))
	for i, c := range calls {
		out[i] = wireCall(i, c)
	}
	return out
}

// split cuts a text into the pieces of a stream, a few characters each.
func split(s string) []string {
	var pieces []string
	var b strings.Builder
	n := 0
	for _, r := range s {
		b.WriteRune(r)
		n++
		if n >= 12 || n >= 4 && (r == ' ' || r > 0x2e80) {
			pieces = append(pieces, b.String())
			b.Reset()
			n = 0
		}
	}
	if n > 0 {
		pieces = append(pieces, b.String())
	}
	return pieces
}
