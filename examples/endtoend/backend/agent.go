// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
)

// Framework is how the agent is spoken to.
type Framework string

// Frameworks.
const (
	// AgentScope is the event protocol of the original's agent, and of ours.
	AgentScope Framework = "AgentScope"
	// AgentRun is an agent on Alibaba Cloud AgentRun, which speaks chat
	// completions and takes the user's ID token as bearer token.
	AgentRun Framework = "agentRun"
)

// agentRequest is the agent's request for a message of the page.
func (s *Server) agentRequest(ctx context.Context, in *session, m *message, question string) (*http.Request, error) {
	body := any(map[string]any{"input": m.Input, "session_id": m.chatID, "user_id": in.IDToken, "accept_events": m.Accept})
	if s.cfg.Framework == AgentRun {
		if question == "" {
			return nil, errors.New("input: want a text in the last message")
		}
		body = map[string]any{"stream": true, "messages": []any{map[string]any{
			"role": "user", "content": []any{map[string]any{"type": "text", "text": question, "user_id": in.IDToken}},
		}}}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("input: not readable")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.AgentURL, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	if s.cfg.Framework == AgentRun {
		req.Header.Set("Authorization", "Bearer "+in.IDToken)
		req.Header.Set(protocol.SessionHeader, m.chatID)
	} else if token := s.cfg.AgentToken; !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	return req, nil
}

// forget lets the agent forget a chat.
func (s *Server) forget(ctx context.Context, in *session, chatID string) error {
	return s.tell(ctx, in, http.MethodDelete, "/conversations/"+chatID)
}

// tell makes a request of the agent that only ours knows.
func (s *Server) tell(ctx context.Context, in *session, method, path string) error {
	u, err := url.Parse(s.cfg.AgentURL)
	if err != nil {
		return err
	}
	base, ours := strings.CutSuffix(u.Path, "/process")
	if s.cfg.Framework == AgentRun || !ours {
		return nil
	}
	u.Path, u.RawQuery = base+path, ""
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+in.IDToken)
	resp, err := s.agent.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("the agent answered with status %s", resp.Status)
	}
	return nil
}
