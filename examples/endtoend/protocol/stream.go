// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"errors"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// Stream writes one answer as events, in the protocol's order. It is safe for
// concurrent use: tools that wait for consent write beside the model.
//
// The first error of its sink is kept and returned by every later call.
type Stream struct {
	write func([]byte) error

	mu        sync.Mutex // guards the rest
	seq       int
	response  Response
	open      *Message // text or reasoning message that is being written
	text      string
	completed []*Message
	ended     bool
	err       error
}

var errEnded = errors.New("protocol: the response has ended")

// NewStream begins an answer: response created, response in_progress. write
// sends one event.
func NewStream(sessionID string, write func([]byte) error) *Stream {
	s := &Stream{write: write, response: Response{
		Object: ObjectResponse, ID: "response_" + randid.UUID(), CreatedAt: time.Now().Unix(), SessionID: sessionID,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendResponse(StatusCreated, nil)
	s.sendResponse(StatusInProgress, nil)
	return s
}

func (s *Stream) next() int {
	s.seq++
	return s.seq - 1
}

func (s *Stream) send(v any) {
	if s.err != nil {
		return
	}
	b, err := encode(v)
	if err == nil {
		err = s.write(b)
	}
	s.err = err
}

func (s *Stream) sendResponse(status string, e *Error) {
	r := s.response
	r.SequenceNumber, r.Status, r.Error = s.next(), status, e
	if status == StatusCompleted {
		r.Output = s.completed
	}
	s.send(r)
}

// Text writes new characters of the answer.
func (s *Stream) Text(delta string) error { return s.delta(TypeMessage, delta) }

// Reasoning writes new characters of what the model thinks.
func (s *Stream) Reasoning(delta string) error { return s.delta(TypeReasoning, delta) }

func (s *Stream) delta(kind, delta string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	if delta == "" {
		return s.err
	}
	if s.open != nil && s.open.Type != kind {
		s.close()
	}
	if s.open == nil {
		s.open = newMessage(kind, "assistant")
		s.open.SequenceNumber = s.next()
		s.send(s.open)
	}
	s.text += delta
	seq := s.next()
	s.send(Content{
		SequenceNumber: &seq, Status: new(StatusInProgress), Type: "text", Index: new(0), Delta: new(true), MsgID: new(s.open.ID), Text: delta,
	})
	return s.err
}

// CloseText ends the message that is being written, if there is one.
func (s *Stream) CloseText() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	return s.err
}

func (s *Stream) close() {
	if s.open == nil {
		return
	}
	seq := s.next()
	// The closing content has no index, delta and msg_id in v1.0.0.
	closing := Content{SequenceNumber: &seq, Status: new(StatusCompleted), Type: "text", Text: s.text}
	s.send(closing)
	s.complete(s.open, closing)
	s.open, s.text = nil, ""
}

func (s *Stream) complete(m *Message, content ...Content) {
	done := *m
	done.SequenceNumber, done.Status, done.Content = s.next(), StatusCompleted, content
	s.send(&done)
	s.completed = append(s.completed, &done)
}

// ToolCalls announces the calls of one turn: all openings first, then the
// arguments of each.
func (s *Stream) ToolCalls(calls []ToolCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.close()
	messages := make([]*Message, len(calls))
	for i, call := range calls {
		m := newMessage(TypePluginCall, "assistant")
		m.SequenceNumber = s.next()
		s.send(m)
		seq := s.next()
		s.send(Content{
			SequenceNumber: &seq, Status: new(StatusInProgress), Type: "data", Index: new(0), Delta: new(true), MsgID: new(m.ID),
			Data: ToolCall{CallID: call.CallID, Name: call.Name},
		})
		messages[i] = m
	}
	for i, call := range calls {
		call.Arguments = Spaced(call.Arguments, true)
		seq := s.next()
		s.send(Content{
			SequenceNumber: &seq, Status: new(StatusCompleted), Type: "data", Index: new(1), Delta: new(true), MsgID: new(messages[i].ID), Data: call,
		})
		s.complete(messages[i],
			Content{Type: "data", Delta: new(true), Data: ToolCall{CallID: call.CallID, Name: call.Name}},
			Content{Type: "data", Delta: new(true), Data: call})
	}
	return s.err
}

// ToolOutput writes a tool's result.
func (s *Stream) ToolOutput(callID, name, text string) error {
	type block struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	blocks, err := encode([]block{{"text", text}})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.complete(newMessage(TypePluginCallOutput, "tool"), Content{Type: "data", Delta: new(false), Data: ToolOutput{
		CallID: callID, Name: name, Output: Spaced(string(blocks), false),
	}})
	return s.err
}

// Authorization writes an authorization event; its sequence number and object
// are filled in.
func (s *Stream) Authorization(a Authorization) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	a.SequenceNumber, a.Object = s.next(), ObjectAuthorization
	if a.Scopes == nil {
		a.Scopes = []string{}
	}
	s.send(a)
	return s.err
}

// Notice writes a message that is no part of the answer, and so never completed,
// as the original writes the links for consent.
func (s *Stream) Notice(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	m := newMessage(TypeMessage, "assistant")
	m.SequenceNumber = s.next()
	s.send(m)
	seq := s.next()
	s.send(Content{
		SequenceNumber: &seq, Status: new(StatusInProgress), Type: "text", Index: new(0), Delta: new(true), MsgID: new(m.ID), Text: text,
	})
	return s.err
}

// Complete closes the answer.
func (s *Stream) Complete() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.close()
	s.ended = true
	s.sendResponse(StatusCompleted, nil)
	return s.err
}

// Fail closes the answer as failed, with what was written so far.
func (s *Stream) Fail(e Error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.close()
	s.ended = true
	s.sendResponse(StatusFailed, &e)
	return s.err
}

func newMessage(kind, role string) *Message {
	return &Message{Object: ObjectMessage, Status: StatusInProgress, ID: "msg_" + randid.UUID(), Type: kind, Role: role}
}
