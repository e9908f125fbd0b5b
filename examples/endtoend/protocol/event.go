// SPDX-License-Identifier: Apache-2.0

// Package protocol is the stream between agent, backend and page: the agent
// runtime's event protocol v1.0.0, as the original sample speaks it, and one
// addition of ours, the authorization event.
//
// An answer is a sequence of events, each one line of JSON in a server-sent
// event: a response opens, messages and their contents follow, and the
// response closes as completed or failed. Every documented field is always
// present, nulls included.
//
// The addition has the object "authorization". It is sent when a tool waits
// for the user's consent (status in_progress), and again when the waiting has
// ended (completed, or failed with an error). Readers that do not know it skip
// it.
package protocol

import (
	"encoding/json"
	"strings"
	"unicode/utf16"
)

// Values of the object field.
const (
	ObjectResponse      = "response"
	ObjectMessage       = "message"
	ObjectContent       = "content"
	ObjectAuthorization = "authorization"
)

// Values of the status field.
const (
	StatusCreated    = "created"
	StatusInProgress = "in_progress"
	StatusCompleted  = "completed"
	StatusFailed     = "failed"
)

// Values of a message's type.
const (
	TypeMessage          = "message"
	TypeReasoning        = "reasoning"
	TypePluginCall       = "plugin_call"
	TypePluginCallOutput = "plugin_call_output"
)

// Error says what went wrong, for the person who reads the chat.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Response opens and closes an answer.
type Response struct {
	SequenceNumber int        `json:"sequence_number"`
	Object         string     `json:"object"`
	Status         string     `json:"status"`
	Error          *Error     `json:"error"`
	ID             string     `json:"id"`
	CreatedAt      int64      `json:"created_at"`
	CompletedAt    *int64     `json:"completed_at"`
	Output         []*Message `json:"output"`
	Usage          any        `json:"usage"`
	SessionID      string     `json:"session_id"`
}

// Message is one message of an answer.
type Message struct {
	SequenceNumber int       `json:"sequence_number"`
	Object         string    `json:"object"`
	Status         string    `json:"status"`
	Error          *Error    `json:"error"`
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	Role           string    `json:"role"`
	Content        []Content `json:"content"`
	Code           *string   `json:"code"`
	Message        *string   `json:"message"`
	Usage          any       `json:"usage"`
	Metadata       any       `json:"metadata"`
}

// Content is a part of a message: Text or Data, by Type.
type Content struct {
	SequenceNumber *int
	Status         *string
	Type           string // text or data
	Index          *int
	Delta          *bool
	MsgID          *string
	Text           string
	Data           any
}

// MarshalJSON writes the fields in the protocol's order, with the payload of
// the type alone.
func (c Content) MarshalJSON() ([]byte, error) {
	head := struct {
		SequenceNumber *int    `json:"sequence_number"`
		Object         string  `json:"object"`
		Status         *string `json:"status"`
		Error          *Error  `json:"error"`
		Type           string  `json:"type"`
		Index          *int    `json:"index"`
		Delta          *bool   `json:"delta"`
		MsgID          *string `json:"msg_id"`
	}{c.SequenceNumber, ObjectContent, c.Status, nil, c.Type, c.Index, c.Delta, c.MsgID}
	b, err := encode(head)
	if err != nil {
		return nil, err
	}
	name, payload := "text", any(c.Text)
	if c.Type == "data" {
		name, payload = "data", c.Data
	}
	p, err := encode(payload)
	if err != nil {
		return nil, err
	}
	b = append(b[:len(b)-1], `,"`+name+`":`...)
	return append(append(b, p...), '}'), nil
}

// ToolCall is the data of a plugin_call.
type ToolCall struct {
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON as text
}

// ToolOutput is the data of a plugin_call_output.
type ToolOutput struct {
	CallID string `json:"call_id"`
	Name   string `json:"name"`
	Output string `json:"output"` // a JSON list of blocks as text
}

// Authorization says that a tool waits for the user's consent, or how the
// waiting ended. Between agent and backend URL and SessionURI are the
// service's; the backend replaces URL by its own page and leaves SessionURI
// out, so that no page script ever has either.
type Authorization struct {
	SequenceNumber int      `json:"sequence_number"`
	Object         string   `json:"object"`
	Status         string   `json:"status"`
	Error          *Error   `json:"error"`
	ID             string   `json:"id"`
	CallID         string   `json:"call_id"`
	ToolName       string   `json:"tool_name"`
	Provider       string   `json:"provider"`
	Scopes         []string `json:"scopes"`
	URL            string   `json:"url"`
	SessionURI     string   `json:"session_uri,omitempty"`
	ExpiresAt      int64    `json:"expires_at"` // Unix seconds
}

// encode is JSON without escapes that JSON does not need.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// Spaced rewrites JSON with a blank after each comma and colon, as the
// original writes the JSON texts within its events; with ascii it escapes
// everything else, too. Text that is no JSON is returned as it is.
func Spaced(text string, ascii bool) string {
	if !json.Valid([]byte(text)) {
		return text
	}
	var b strings.Builder
	inString, escaped := false, false
	for _, r := range text {
		if !inString && (r == ' ' || r == '\t' || r == '\n' || r == '\r') {
			continue
		}
		switch {
		case ascii && r > 0x7e:
			units := utf16.AppendRune(nil, r)
			for _, u := range units {
				b.WriteString(`\u`)
				const hex = "0123456789abcdef"
				b.Write([]byte{hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15]})
			}
		default:
			b.WriteRune(r)
		}
		switch {
		case inString && escaped:
			escaped = false
		case inString && r == '\\':
			escaped = true
		case r == '"':
			inString = !inString
		case !inString && (r == ',' || r == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}
