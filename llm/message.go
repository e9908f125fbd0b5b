// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
)

// Role says who wrote a message.
type Role string

// Roles.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a conversation.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
	// Images are addresses of images that belong to the text, or data: URLs.
	// Only models that see images take them.
	Images []string `json:"images,omitempty"`
	// Reasoning is what a thinking model thought. It is never sent back.
	Reasoning string `json:"reasoning,omitempty"`
	// ToolCalls are what an assistant turn asks for.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolCallID and ToolName tie a tool's result to its call.
	ToolCallID string `json:"tool_call_id,omitempty"`
	ToolName   string `json:"tool_name,omitempty"`
}

// ToolCall is a model's wish to call a tool.
type ToolCall struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Arguments is the text that the model wrote; it should be a JSON object
	// and may be anything.
	Arguments string `json:"arguments"`
}

// Tool describes a tool to a model.
type Tool struct {
	Name        string
	Description string
	Schema      json.RawMessage // JSON schema of the arguments, an object
}

// Request asks a model for one turn. Messages and Tools are not modified.
type Request struct {
	Messages []Message
	Tools    []Tool
	// ToolChoice is "" or "auto", "none", or the name of the tool to call.
	ToolChoice string
	// EnableThinking switches reasoning on or off; nil leaves it to the model.
	EnableThinking *bool
	// Temperature, TopP, MaxTokens and Seed: nil leaves them to the model.
	Temperature, TopP *float64
	MaxTokens, Seed   *int
}

// Chunk is one piece of a streamed turn: what is new since the one before.
type Chunk struct {
	Content   string
	Reasoning string
	ToolCalls []ToolCallDelta
	// FinishReason is "" until the last chunk, then stop, length, tool_calls
	// or what else the service says.
	FinishReason string
	// Usage is cumulative; nil if the chunk has none.
	Usage     *Usage
	RequestID string
}

// ToolCallDelta is a piece of a tool call. Pieces with the same Index belong
// together: their texts are joined.
type ToolCallDelta struct {
	Index               int
	ID, Name, Arguments string
}

// Usage counts tokens.
type Usage struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
	TotalTokens  int `json:"total_tokens"`
	// CachedTokens of the input, ReasoningTokens of the output.
	CachedTokens    int `json:"cached_tokens,omitempty"`
	ReasoningTokens int `json:"reasoning_tokens,omitempty"`
}

// Response is a whole turn.
type Response struct {
	Message      Message
	FinishReason string
	Usage        Usage
	RequestID    string
}

// Model streams a turn. Implementations are safe for concurrent use.
type Model interface {
	Stream(ctx context.Context, req *Request) iter.Seq2[*Chunk, error]
}

// maxToolCalls bounds the calls of one turn.
const maxToolCalls = 128

// Merger joins the chunks of a turn. The zero value is ready to use.
type Merger struct {
	resp               Response
	content, reasoning strings.Builder
	calls              []ToolCall
}

// Add joins c to what came before.
func (m *Merger) Add(c *Chunk) error {
	m.content.WriteString(c.Content)
	m.reasoning.WriteString(c.Reasoning)
	for _, d := range c.ToolCalls {
		if d.Index < 0 || d.Index >= maxToolCalls {
			return errors.New("llm: the model's tool calls have an impossible index")
		}
		for len(m.calls) <= d.Index {
			m.calls = append(m.calls, ToolCall{})
		}
		call := &m.calls[d.Index]
		if d.ID != call.ID {
			call.ID += d.ID
		}
		call.Name += d.Name
		call.Arguments += d.Arguments
	}
	if c.FinishReason != "" {
		m.resp.FinishReason = c.FinishReason
	}
	if c.Usage != nil {
		m.resp.Usage = *c.Usage
	}
	if c.RequestID != "" {
		m.resp.RequestID = c.RequestID
	}
	return nil
}

// Response returns the turn as far as it has come.
func (m *Merger) Response() *Response {
	r := m.resp
	r.Message = Message{Role: RoleAssistant, Content: m.content.String(), Reasoning: m.reasoning.String()}
	for _, call := range m.calls {
		if call.Name != "" || call.Arguments != "" { // an index that was skipped
			r.Message.ToolCalls = append(r.Message.ToolCalls, call)
		}
	}
	return &r
}

// Collect joins a stream into one response. With an error it returns what
// arrived before it.
func Collect(seq iter.Seq2[*Chunk, error]) (*Response, error) {
	var m Merger
	for chunk, err := range seq {
		if err == nil {
			err = m.Add(chunk)
		}
		if err != nil {
			return m.Response(), err
		}
	}
	return m.Response(), nil
}
