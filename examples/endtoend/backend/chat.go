// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

const (
	maxChatBody = 1 << 20
	// agentSilence is how long the agent may send nothing at all. Ours sends a
	// sign of life every 15 seconds; the original's sends none.
	agentSilence = 3 * time.Minute
)

var chatIDPattern = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,128}$`)

// chat relays a message to the agent and its answer to the page, event by
// event.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r) // before anything is read or kept
	if in == nil {
		return
	}
	var body struct {
		Input     []json.RawMessage `json:"input"`
		SessionID json.RawMessage   `json:"session_id"`
		Accept    []string          `json:"accept_events"`
	}
	if !web.ReadJSON(w, r, maxChatBody, &body) {
		return
	}
	chatID := ""
	switch {
	case len(body.Input) == 0:
		web.Fail(w, http.StatusUnprocessableEntity, "input: want a list of messages that is not empty")
		return
	case body.SessionID == nil:
		web.Fail(w, http.StatusUnprocessableEntity, "session_id: required; null begins a new chat")
		return
	case json.Unmarshal(body.SessionID, &chatID) != nil:
		web.Fail(w, http.StatusUnprocessableEntity, "session_id: want a text or null")
		return
	case chatID == "":
		chatID = randid.Hex(16)
	case !chatIDPattern.MatchString(chatID):
		web.Fail(w, http.StatusUnprocessableEntity, "session_id: want 1 to 128 letters, digits and . _ : @ -")
		return
	}
	upstream, err := json.Marshal(map[string]any{"input": body.Input, "session_id": chatID, "user_id": in.IDToken, "accept_events": body.Accept})
	if err != nil {
		web.Fail(w, http.StatusUnprocessableEntity, "input: not readable")
		return
	}
	events := sse.NewWriter(w)
	relay := &relay{server: s, r: r, session: in, chatID: chatID, events: events}
	if err := relay.run(upstream); err != nil && r.Context().Err() == nil {
		s.log(r).Error("relaying the agent's answer", "error", err)
		relay.fail(err)
	}
	// The end, as the original marks it; in a line that readers understand.
	_ = events.Raw([]byte("data: [DONE]\n\n"))
}

// relay is one answer on its way from the agent to the page.
type relay struct {
	server  *Server
	r       *http.Request
	session *session
	chatID  string
	events  *sse.Writer
	ended   bool // the agent's answer was closed
}

// agentError is an answer of the agent that is no stream.
type agentError struct {
	code, message string
}

func (e *agentError) Error() string { return e.code + ": " + e.message }

func (a *relay) run(body []byte) error {
	ctx, cancel := context.WithCancelCause(a.r.Context())
	defer cancel(nil)
	silence := time.AfterFunc(agentSilence, func() {
		cancel(&agentError{"AGENT_TIMEOUT", "The agent stopped answering. Please try again."})
	})
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.server.cfg.AgentURL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set(web.RequestIDHeader, web.RequestID(a.r.Context()))
	if token := a.server.cfg.AgentToken; !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := a.server.agent.Do(req)
	if err != nil {
		if cause, ok := errors.AsType[*agentError](context.Cause(ctx)); ok {
			return cause
		}
		return errors.Join(&agentError{"AGENT_UNREACHABLE", "The agent cannot be reached. Please try again later."}, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	for ev, err := range sse.Read(resp.Body, 0) {
		silence.Reset(agentSilence)
		if err != nil {
			if cause, ok := errors.AsType[*agentError](context.Cause(ctx)); ok {
				return cause
			}
			return errors.Join(&agentError{"AGENT_BROKE_OFF", "The agent broke off in the middle of its answer. Please try again."}, err)
		}
		if ev.Data == nil {
			if err := a.events.Comment("heartbeat"); err != nil {
				return err
			}
			continue
		}
		if err := a.event(ctx, ev.Data); err != nil {
			return err
		}
	}
	if !a.ended {
		return &agentError{"AGENT_BROKE_OFF", "The agent broke off in the middle of its answer. Please try again."}
	}
	return nil
}

// refused explains an answer of the agent with another status than 200.
func refused(resp *http.Response) error {
	var b struct{ Detail any }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&b)
	detail, _ := b.Detail.(string)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return &agentError{"LOGIN_EXPIRED", "The agent does not accept your login any more. Sign in again."}
	case http.StatusConflict, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &agentError{"AGENT_REFUSED", "The agent refused the message: " + detail}
	}
	return &agentError{"AGENT_ERROR", "The agent answered with status " + resp.Status + ". Please try again later."}
}

// event passes one event on. Authorization events are ours to answer for: the
// page gets a link to our own page instead of the service's.
func (a *relay) event(ctx context.Context, data []byte) error {
	var head struct {
		Object string          `json:"object"`
		Status string          `json:"status"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return &agentError{"AGENT_ERROR", "The agent sent something that is not an event."}
	}
	switch head.Object {
	case protocol.ObjectResponse:
		a.ended = a.ended || head.Status == protocol.StatusCompleted || head.Status == protocol.StatusFailed
	case protocol.ObjectAuthorization:
		rewritten, err := a.authorization(ctx, data)
		if err != nil {
			return err
		}
		data = rewritten
	case "":
		// The original agent's failures: {"error": "text"}.
		var text string
		if json.Unmarshal(head.Error, &text) == nil && text != "" {
			return &agentError{"AGENT_ERROR", "The agent failed: " + text}
		}
	}
	return a.events.Data(data)
}

func (a *relay) authorization(ctx context.Context, data []byte) ([]byte, error) {
	var event protocol.Authorization
	if err := json.Unmarshal(data, &event); err != nil {
		return nil, &agentError{"AGENT_ERROR", "The agent sent an authorization event that cannot be read."}
	}
	if event.Status == protocol.StatusInProgress {
		id, err := a.server.keepConsent(ctx, a.session, a.chatID, &event)
		if err != nil {
			return nil, err
		}
		event.URL = a.server.cfg.BaseURL + "/consent/" + id
	}
	event.SessionURI = ""
	return json.Marshal(event)
}

// fail closes the answer for the page, as the agent would have.
func (a *relay) fail(err error) {
	if a.ended {
		return
	}
	e := protocol.Error{Code: "BACKEND_ERROR", Message: "The answer could not be relayed (request id " + web.RequestID(a.r.Context()) + ")."}
	if agentErr, ok := errors.AsType[*agentError](err); ok {
		e = protocol.Error{Code: agentErr.code, Message: agentErr.message}
	}
	b, marshalErr := json.Marshal(protocol.Response{
		Object: protocol.ObjectResponse, Status: protocol.StatusFailed, Error: &e,
		ID: "response_" + randid.Hex(16), CreatedAt: time.Now().Unix(), SessionID: a.chatID,
	})
	if marshalErr == nil {
		_ = a.events.Data(b)
	}
}
