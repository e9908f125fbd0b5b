// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

const (
	maxChatBody = 3 << 20 // an image may be in it
	// heartbeat keeps a quiet stream alive on its way to the page where the
	// agent sends no sign of life of its own.
	heartbeat = 15 * time.Second
)

var chatIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)

// message is what the page sends.
type message struct {
	Input     []json.RawMessage `json:"input"`
	SessionID json.RawMessage   `json:"session_id"`
	Accept    []string          `json:"accept_events"`

	chatID string
}

// problem says what is wrong with a message; "" if nothing is.
func (m *message) problem() string {
	switch {
	case len(m.Input) == 0:
		return "input: want a list of messages that is not empty"
	case m.SessionID == nil:
		return "session_id: required; null begins a new chat"
	case json.Unmarshal(m.SessionID, &m.chatID) != nil:
		return "session_id: want a text or null"
	case m.chatID == "":
		m.chatID = randid.Hex(16)
	case !chatIDPattern.MatchString(m.chatID):
		return "session_id: want 1 to 128 letters, digits and . _ : @ -, with a letter or digit first"
	}
	return ""
}

// question is the text of the last message, as a person reads it; "" if there is
// none. Whether the rest is right is the agent's to say.
func (m *message) question() string {
	var req protocol.Request
	b, err := json.Marshal(map[string]any{"input": m.Input})
	if err != nil || json.Unmarshal(b, &req) != nil {
		return ""
	}
	turns, err := req.Turns()
	if err != nil {
		return ""
	}
	return turns[len(turns)-1].Text
}

// chat relays a message to the agent and its answer to the page, event by
// event.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r) // before anything is read or kept
	if in == nil || !s.chats.allow(w, in.owner()) {
		return
	}
	var m message
	if !web.ReadJSON(w, r, maxChatBody, &m) {
		return
	}
	if problem := m.problem(); problem != "" {
		web.Fail(w, http.StatusUnprocessableEntity, problem)
		return
	}
	question := m.question()
	req, err := s.agentRequest(r.Context(), in, &m, question)
	if err != nil {
		web.Fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	begun := time.Now()
	events := sse.NewWriter(w)
	relay := &relay{server: s, r: r, session: in, chatID: m.chatID, events: events}
	err = relay.run(req)
	if err != nil && r.Context().Err() == nil {
		s.log(r).Error("relaying the agent's answer", "error", err)
		relay.fail(err)
	}
	// A message that the agent did not take is asked again after a sign-in.
	if expired, ok := errors.AsType[*agentError](err); question != "" && !(ok && expired.code == loginExpired) {
		relay.kept.flush()
		// Also where the person has left: they may come back.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
		defer cancel()
		if err := s.keepExchange(ctx, in.owner(), m.chatID, &exchange{question, begun, relay.kept.events}); err != nil {
			s.log(r).Error("keeping the exchange; the page cannot show it again", "error", err)
		}
	}
	// The end, as the original marks it; in a line that readers understand.
	_ = events.Raw([]byte("data: [DONE]\n\n"))
}
