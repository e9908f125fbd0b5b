// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/llm"
)

// What is kept of a conversation: the youngest whole turns, each from a message
// of the user to the answer with all calls and results between, as long as they
// fit in maxMemory messages and maxMemoryBytes; and at least the last question
// with its answer. It is kept for memoryLife after the last answer.
const (
	memoryLife     = 30 * 24 * time.Hour
	maxMemory      = 60
	maxMemoryBytes = 256 << 10
)

// recall reads a conversation; one that has not begun is empty.
func (r *run) recall(ctx context.Context, key string) ([]llm.Message, error) {
	b, err := r.server.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the conversation: %w", err)
	}
	var history []llm.Message
	if err := json.Unmarshal(b, &history); err != nil {
		return nil, fmt.Errorf("reading the conversation: %w", err)
	}
	return history, nil
}

// remember keeps a conversation.
func (r *run) remember(ctx context.Context, key string, history []llm.Message) error {
	b, err := json.Marshal(trim(history))
	if err != nil {
		return fmt.Errorf("keeping the conversation: %w", err)
	}
	if err := r.server.cfg.Store.Put(ctx, key, b, memoryLife); err != nil {
		return fmt.Errorf("keeping the conversation: %w", err)
	}
	return nil
}

// trim keeps the youngest turns of history that fit, whole.
func trim(history []llm.Message) []llm.Message {
	last, start, messages, bytes := -1, len(history), 0, 0
	for i := len(history) - 1; i >= 0; i-- {
		messages, bytes = messages+1, bytes+size(history[i])
		if messages > maxMemory || bytes > maxMemoryBytes {
			break
		}
		if history[i].Role == llm.RoleUser {
			start = i
		}
	}
	if start < len(history) {
		return history[start:]
	}
	// The last turn alone is too long: its question and its answer remain.
	for i, m := range history {
		if m.Role == llm.RoleUser {
			last = i
		}
	}
	if last < 0 || last == len(history)-1 {
		return nil
	}
	answer := history[len(history)-1]
	return []llm.Message{cut(history[last]), {Role: llm.RoleAssistant, Content: cut(answer).Content}}
}

// size is what a message weighs, in bytes.
func size(m llm.Message) int {
	n := len(m.Content) + len(m.Reasoning)
	for _, image := range m.Images {
		n += len(image)
	}
	for _, c := range m.ToolCalls {
		n += len(c.Name) + len(c.Arguments)
	}
	return n
}

// cut shortens a message that alone is too long, and drops its images.
func cut(m llm.Message) llm.Message {
	const most = maxMemoryBytes / 2
	m.Images = nil
	if len(m.Content) > most {
		m.Content = strings.ToValidUTF8(m.Content[:most], "") + "…"
	}
	return m
}
