// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

type wireCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type wireMessage struct {
	Role       Role       `json:"role"`
	Content    any        `json:"content"`
	ToolCalls  []wireCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	Name       string     `json:"name,omitempty"`
}

// encode makes the body: result_format message, and incremental output when
// streaming.
func (c *Client) encode(req *Request, stream bool) ([]byte, error) {
	if len(req.Messages) == 0 {
		return nil, errors.New("llm: the request has no messages")
	}
	messages := make([]wireMessage, len(req.Messages))
	for i, m := range req.Messages {
		messages[i] = wireMessage{Role: m.Role, ToolCallID: m.ToolCallID, Name: m.ToolName}
		for _, call := range m.ToolCalls {
			w := wireCall{ID: call.ID, Type: "function"}
			w.Function.Name, w.Function.Arguments = call.Name, call.Arguments
			messages[i].ToolCalls = append(messages[i].ToolCalls, w)
		}
		content, err := c.content(m)
		if err != nil {
			return nil, err
		}
		messages[i].Content = content
	}
	params := map[string]any{"result_format": "message"}
	if stream {
		params["incremental_output"] = true
	}
	if len(req.Tools) > 0 {
		tools := make([]map[string]any, len(req.Tools))
		for i, t := range req.Tools {
			tools[i] = map[string]any{"type": "function", "function": map[string]any{
				"name": t.Name, "description": t.Description, "parameters": t.Schema,
			}}
		}
		params["tools"] = tools
		switch req.ToolChoice {
		case "", "auto":
		case "none":
			params["tool_choice"] = "none"
		default:
			params["tool_choice"] = map[string]any{"type": "function", "function": map[string]any{"name": req.ToolChoice}}
		}
	}
	set(params, "enable_thinking", req.EnableThinking)
	set(params, "temperature", req.Temperature)
	set(params, "top_p", req.TopP)
	set(params, "max_tokens", req.MaxTokens)
	set(params, "seed", req.Seed)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(map[string]any{
		"model": c.cfg.Model, "input": map[string]any{"messages": messages}, "parameters": params,
	})
	if err != nil {
		return nil, fmt.Errorf("llm: a tool's schema is no JSON: %w", err)
	}
	return b.Bytes(), nil
}

func set[T any](params map[string]any, name string, v *T) {
	if v != nil {
		params[name] = *v
	}
}

// seesImages reports whether a model is one of the multimodal API.
func seesImages(model string) bool {
	return strings.HasPrefix(model, "qvq") || strings.Contains(model, "-vl")
}

// content is a message's content on the wire: a text, or for a model that sees
// images a list of images and texts.
func (c *Client) content(m Message) (any, error) {
	if !seesImages(c.cfg.Model) {
		switch {
		case len(m.Images) > 0:
			return nil, fmt.Errorf("%w: %s: choose one such as qwen3-vl-plus", ErrNoImages, c.cfg.Model)
		case m.Role == RoleAssistant && m.Content == "":
			return []map[string]any{{"text": nil}}, nil // as the official SDK writes an empty turn
		}
		return m.Content, nil
	}
	parts := []map[string]string{}
	for _, image := range m.Images {
		if !strings.HasPrefix(image, "https://") && !strings.HasPrefix(image, "http://") && !strings.HasPrefix(image, "data:image/") {
			return nil, fmt.Errorf("llm: image %.40q: want an http address or a data: URL of an image", image)
		}
		parts = append(parts, map[string]string{"image": image})
	}
	if m.Content != "" {
		parts = append(parts, map[string]string{"text": m.Content})
	}
	return parts, nil
}
