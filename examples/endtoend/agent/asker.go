// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/llm"
)

type askerKey struct{}

// asker tells the person before the page that a tool waits for their consent,
// and later how the waiting ended.
type asker struct {
	stream answerStream
	links  bool // see admitted
	call   llm.ToolCall
	timer  *time.Timer // ends the call

	mu    sync.Mutex // guards asked
	asked []protocol.Authorization
}

// authorize is the OnAuthorization of the sample's sources. The stream to
// write to comes with the tool call's ctx.
func authorize(ctx context.Context, a credentials.Authorization) error {
	asker, ok := ctx.Value(askerKey{}).(*asker)
	if !ok {
		return &credentials.AuthorizationRequiredError{
			Provider: a.Provider, Scopes: a.Scopes, URL: a.URL, SessionURI: a.SessionURI, Caller: a.Caller,
		}
	}
	return asker.ask(a)
}

func (k *asker) ask(a credentials.Authorization) error {
	event := protocol.Authorization{
		Status: protocol.StatusInProgress, ID: "auth_" + randid.Hex(12), CallID: k.call.ID, ToolName: k.call.Name,
		Provider: a.Provider, Scopes: a.Scopes, URL: a.URL, SessionURI: a.SessionURI, ExpiresAt: a.Deadline.Unix(),
	}
	// A person's time is not the tool's.
	k.timer.Reset(time.Until(a.Deadline) + toolTimeout)
	k.mu.Lock()
	k.asked = append(k.asked, event)
	k.mu.Unlock()
	if k.links {
		text := fmt.Sprintf("%s needs your authorization. Open this link to go on: %s", k.call.Name, a.URL)
		if err := k.stream.Notice(text); err != nil {
			return err
		}
	}
	return k.stream.Authorization(event)
}

// settle says how the waiting ended, now that the tool has.
func (k *asker) settle(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, event := range k.asked {
		event.Status, event.URL = protocol.StatusCompleted, ""
		switch {
		case errors.Is(err, credentials.ErrAuthorizationDenied):
			event.Error = &protocol.Error{Code: "denied", Message: "The authorization was refused or failed."}
		case errors.Is(err, credentials.ErrAuthorizationExpired):
			event.Error = &protocol.Error{Code: "expired", Message: "The authorization request expired."}
		case errors.Is(err, credentials.ErrAuthorizationTimeout):
			event.Error = &protocol.Error{Code: "timeout", Message: "Nobody answered the authorization request in time."}
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			event.Error = &protocol.Error{Code: "canceled", Message: "The answer was stopped."}
		}
		if event.Error != nil {
			event.Status = protocol.StatusFailed
		}
		_ = k.stream.Authorization(event) // a stream that broke shows elsewhere
	}
}
