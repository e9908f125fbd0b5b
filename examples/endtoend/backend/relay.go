// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// agentSilence is how long the agent may send nothing at all. Ours sends a
// sign of life every 15 seconds; the original's sends none.
const agentSilence = 3 * time.Minute

// objectChunk is the object of an event of chat completions.
const objectChunk = "chat.completion.chunk"

// event is an event of the agent, as far as the backend reads it.
type event struct {
	Object    string          `json:"object"`
	Status    string          `json:"status"`
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Delta     bool            `json:"delta"`
	MessageID string          `json:"msg_id"`
	Text      string          `json:"text"`
	Data      json.RawMessage `json:"data"`
	Content   json.RawMessage `json:"content"`
	Error     json.RawMessage `json:"error"`

	// Of chat completions.
	Choices []struct {
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Authorization json.RawMessage `json:"authorization"`
}

// relay is one answer on its way from the agent to the page.
type relay struct {
	server  *Server
	r       *http.Request
	session *session
	chatID  string
	events  *sse.Writer
	kept    recorder
	ended   bool // the agent's answer was closed
}

// agentError is an answer of the agent that is no stream.
type agentError struct {
	code, message string
}

func (e *agentError) Error() string { return e.code + ": " + e.message }

var errBrokeOff = &agentError{"AGENT_BROKE_OFF", "The agent broke off in the middle of its answer. Please try again."}

// run sends req and relays the answer.
func (a *relay) run(req *http.Request) error {
	ctx, cancel := context.WithCancelCause(a.r.Context())
	defer cancel(nil)
	silence := time.AfterFunc(agentSilence, func() {
		cancel(&agentError{"AGENT_TIMEOUT", "The agent stopped answering. Please try again."})
	})
	defer silence.Stop()
	// why prefers what ended the exchange to how that showed.
	why := func(err error, otherwise *agentError) error {
		if cause, ok := errors.AsType[*agentError](context.Cause(ctx)); ok {
			return cause
		}
		return errors.Join(otherwise, err)
	}
	resp, err := a.server.agent.Do(req.WithContext(ctx))
	if err != nil {
		return why(err, &agentError{"AGENT_UNREACHABLE", "The agent cannot be reached. Please try again later."})
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	defer a.events.Beat(ctx, heartbeat)()
	for ev, err := range sse.Read(resp.Body, 0) {
		silence.Reset(agentSilence)
		switch {
		case err != nil:
			return why(err, errBrokeOff)
		case ev.Data == nil:
			err = a.events.Comment("heartbeat")
		case string(ev.Data) == "[DONE]": // of chat completions; ours comes at the end
		default:
			err = a.event(ctx, ev.Data)
		}
		if err != nil {
			return err
		}
	}
	if !a.ended {
		return errBrokeOff
	}
	return nil
}

// loginExpired is the code by which the page asks for a new sign-in.
const loginExpired = "LOGIN_EXPIRED"

// refused explains an answer of the agent with another status than 200.
func refused(resp *http.Response) error {
	var b struct{ Detail any }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&b)
	detail, _ := b.Detail.(string)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return &agentError{loginExpired, "The agent does not accept your login any more. Sign in again."}
	case http.StatusConflict, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &agentError{"AGENT_REFUSED", "The agent refused the message: " + detail}
	}
	return &agentError{"AGENT_ERROR", "The agent answered with status " + resp.Status + ". Please try again later."}
}

// event passes one event on. Authorization events are ours to answer for: the
// page gets a link to our own page instead of the service's.
func (a *relay) event(ctx context.Context, data []byte) error {
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); !wrongType {
			return &agentError{"AGENT_ERROR", "The agent sent something that is not an event."}
		}
	}
	switch e.Object {
	case protocol.ObjectResponse:
		a.ended = a.ended || e.Status == protocol.StatusCompleted || e.Status == protocol.StatusFailed
	case protocol.ObjectAuthorization:
		rewritten, err := a.authorization(ctx, data)
		if err != nil {
			return err
		}
		data = rewritten
	case objectChunk:
		for _, c := range e.Choices {
			a.ended = a.ended || c.FinishReason != nil && *c.FinishReason == "stop"
		}
		if e.Authorization != nil {
			rewritten, err := a.authorization(ctx, e.Authorization)
			if err != nil {
				return err
			}
			// As an event of its own, which the page reads in either variant.
			e.Object, data = protocol.ObjectAuthorization, rewritten
		}
	case "":
		// The original agent's failures: {"error": "text"}.
		var text string
		if json.Unmarshal(e.Error, &text) == nil && text != "" {
			return &agentError{"AGENT_ERROR", "The agent failed: " + text}
		}
	}
	a.kept.record(&e, data)
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
		text, _ := json.Marshal(e)
		a.kept.record(&event{Object: protocol.ObjectResponse, Status: protocol.StatusFailed, Error: text}, b)
		_ = a.events.Data(b)
	}
}
