// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// ChatRequest is the body of POST /openai/v1/chat/completions, as backends of the
// AgentRun variant send it. The user's ID token is the request's bearer token,
// and the chat's id its header X-App-Custom-Session-Id. Unknown fields are
// ignored.
type ChatRequest struct {
	Model    string        `json:"model"`
	Stream   bool          `json:"stream"`
	Messages []ChatMessage `json:"messages"`
	// AcceptEvents is that of [Request].
	AcceptEvents []string `json:"accept_events"`
}

// ChatMessage is one message: its content is a text or a list of parts.
type ChatMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// SessionHeader carries the chat's id.
const SessionHeader = "X-App-Custom-Session-Id"

// Request is the same request in the agent's own form.
func (r *ChatRequest) Request() (*Request, error) {
	out := &Request{AcceptEvents: r.AcceptEvents}
	for i, m := range r.Messages {
		in := Input{Role: m.Role, Type: TypeMessage}
		var text string
		if json.Unmarshal(m.Content, &text) == nil {
			in.Content = []InputPart{{Type: "text", Text: &text}}
		} else if err := json.Unmarshal(m.Content, &in.Content); err != nil {
			return nil, fmt.Errorf("messages[%d].content: want a text or a list of parts", i)
		}
		out.Input = append(out.Input, in)
	}
	return out, nil
}

// ChatStream writes one answer as chunks of chat completions. It has the methods
// of [Stream]. Consent and failures are members of their own, authorization and
// error, beside choices, which readers that do not know them pass over. It is
// safe for concurrent use.
type ChatStream struct {
	write func([]byte) error
	id    string
	model string
	made  int64

	mu    sync.Mutex // guards the rest
	ended bool
	calls int
	text  strings.Builder
	err   error
}

// DefaultChatModel names the model of chunks for requests that name none: the
// original page reads chunks of this name as chat completions.
const DefaultChatModel = "agentrun"

// NewChatStream begins an answer. write sends one event.
func NewChatStream(model string, write func([]byte) error) *ChatStream {
	if model == "" {
		model = DefaultChatModel
	}
	return &ChatStream{write: write, id: "chatcmpl-" + randid.Hex(6), model: model, made: time.Now().Unix()}
}

type chatDelta struct {
	Role             string     `json:"role,omitempty"`
	Content          string     `json:"content,omitempty"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []chatCall `json:"tool_calls,omitempty"`
}

type chatCall struct {
	Index    int    `json:"index"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type chatChoice struct {
	Index        int       `json:"index"`
	Delta        chatDelta `json:"delta"`
	FinishReason *string   `json:"finish_reason"`
}

type chatChunk struct {
	ID            string         `json:"id"`
	Object        string         `json:"object"`
	Created       int64          `json:"created"`
	Model         string         `json:"model"`
	Choices       []chatChoice   `json:"choices"`
	Authorization *Authorization `json:"authorization,omitempty"`
	Error         *Error         `json:"error,omitempty"`
}

// send writes one chunk, under s.mu.
func (s *ChatStream) send(delta chatDelta, finish string, a *Authorization, e *Error) error {
	if s.ended && s.err == nil {
		return errEnded
	}
	if s.err != nil {
		return s.err
	}
	chunk := chatChunk{ID: s.id, Object: "chat.completion.chunk", Created: s.made, Model: s.model, Authorization: a, Error: e}
	choice := chatChoice{Delta: delta}
	if finish != "" {
		choice.FinishReason = &finish
	}
	chunk.Choices = []chatChoice{choice}
	b, err := encode(chunk)
	if err == nil {
		err = s.write(b)
	}
	s.err = err
	return err
}

// Text writes new characters of the answer.
func (s *ChatStream) Text(delta string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delta == "" {
		return s.err
	}
	s.text.WriteString(delta)
	return s.send(chatDelta{Role: "assistant", Content: delta}, "", nil, nil)
}

// Reasoning writes new characters of what the model thinks.
func (s *ChatStream) Reasoning(delta string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delta == "" {
		return s.err
	}
	return s.send(chatDelta{ReasoningContent: delta}, "", nil, nil)
}

// CloseText separates what the model says before a tool call from what it says
// after: to readers all is one message.
func (s *ChatStream) CloseText() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// ToolCalls announces the calls of one turn. They do not end the answer: a finish
// reason here would, for the original page.
func (s *ChatStream) ToolCalls(calls []ToolCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []chatCall
	for _, c := range calls {
		w := chatCall{Index: s.calls, ID: c.CallID, Type: "function"}
		w.Function.Name, w.Function.Arguments = c.Name, c.Arguments
		list = append(list, w)
		s.calls++
	}
	if s.text.Len() > 0 && !strings.HasSuffix(s.text.String(), "\n") {
		s.text.WriteString("\n\n")
		if err := s.send(chatDelta{Content: "\n\n"}, "", nil, nil); err != nil {
			return err
		}
	}
	return s.send(chatDelta{ToolCalls: list}, "", nil, nil)
}

// ToolOutput writes nothing: chat completions have no place for it.
func (s *ChatStream) ToolOutput(string, string, string) error { return s.CloseText() }

// Notice writes text that is no part of the answer.
func (s *ChatStream) Notice(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(chatDelta{Role: "assistant", Content: text + "\n\n"}, "", nil, nil)
}

// Authorization writes that a tool waits for consent, or no longer does.
func (s *ChatStream) Authorization(a Authorization) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Object = ObjectAuthorization
	if a.Scopes == nil {
		a.Scopes = []string{}
	}
	return s.send(chatDelta{}, "", &a, nil)
}

// Complete closes the answer.
func (s *ChatStream) Complete() error { return s.end("stop", nil) }

// Fail closes the answer as failed. What went wrong is in its text, too, for
// readers that know nothing else.
func (s *ChatStream) Fail(e Error) error {
	s.mu.Lock()
	if !s.ended && s.err == nil {
		_ = s.send(chatDelta{Content: "\n\n⚠ " + e.Message}, "", nil, nil)
	}
	s.mu.Unlock()
	return s.end("stop", &e)
}

func (s *ChatStream) end(reason string, e *Error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	err := s.send(chatDelta{}, reason, nil, e)
	s.ended = true
	if err == nil {
		err = s.write([]byte("[DONE]"))
		s.err = errors.Join(s.err, err)
	}
	return err
}

// Completion is the whole answer, for requests without stream.
func (s *ChatStream) Completion() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{
		"id": s.id, "object": "chat.completion", "created": s.made, "model": s.model,
		"choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": s.text.String()},
		}},
	}
}
