// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
)

const (
	systemPrompt = "You're a helpful assistant named Friday. Use the tools you are offered where they help, and answer in the user's language."

	// maxRounds is how often the model may call tools before it has to sum up.
	maxRounds = 10
	// toolTimeout limits one tool's work. Waiting for a person does not count:
	// see asker.
	toolTimeout = 2 * time.Minute
	// maxToolText bounds one tool's result, in bytes.
	maxToolText = 32 << 10
)

// run is one answer.
type run struct {
	server *Server
	stream answerStream
	links  bool // see admitted
	log    *slog.Logger
}

// answer is the reason-act loop: the model speaks, the tools that it calls are
// run, and it speaks again, until it calls none.
func (r *run) answer(ctx context.Context, key string, turns []protocol.Turn) error {
	history, err := r.recall(ctx, key)
	if err != nil {
		return err
	}
	if len(history) > 0 {
		turns = turns[len(turns)-1:] // the rest is known
	}
	for _, t := range turns {
		history = append(history, llm.Message{Role: llm.Role(t.Role), Content: t.Text, Images: t.Images})
	}
	for round := 0; ; round++ {
		req := &llm.Request{Messages: append([]llm.Message{{Role: llm.RoleSystem, Content: systemPrompt}}, history...)}
		// Made anew each time: a grant, or a server, may have opened more.
		set, err := mcp.Combine(ctx, r.server.cfg.Tools, r.server.cfg.Servers...)
		if err != nil {
			return err
		}
		if round < maxRounds {
			req.Tools = offer(set)
		} else {
			req.Messages = append(req.Messages, llm.Message{
				Role: llm.RoleUser, Content: "You have used your tools often enough. Sum up what you found and answer now.",
			})
		}
		turn, err := r.speak(ctx, req)
		if err != nil {
			return err
		}
		history = append(history, turn)
		if len(turn.ToolCalls) == 0 {
			break
		}
		results, err := r.callTools(ctx, set, turn.ToolCalls)
		if err != nil {
			return err
		}
		history = append(history, results...)
	}
	return r.remember(ctx, key, history)
}

func offer(set *tools.Set) []llm.Tool {
	offered := make([]llm.Tool, 0, set.Len())
	for t := range set.All() {
		offered = append(offered, llm.Tool{Name: t.Name(), Description: t.Description(), Schema: t.Schema()})
	}
	return offered
}

// speak streams one turn of the model.
func (r *run) speak(ctx context.Context, req *llm.Request) (llm.Message, error) {
	var merger llm.Merger
	for chunk, err := range r.server.cfg.Model.Stream(ctx, req) {
		if err == nil {
			err = merger.Add(chunk)
		}
		if err == nil {
			err = r.stream.Reasoning(chunk.Reasoning)
		}
		if err == nil {
			err = r.stream.Text(chunk.Content)
		}
		if err != nil {
			return llm.Message{}, err
		}
	}
	turn := merger.Response().Message
	for i := range turn.ToolCalls {
		if turn.ToolCalls[i].ID == "" {
			turn.ToolCalls[i].ID = "call_" + randid.Hex(12)
		}
	}
	return turn, r.stream.CloseText()
}

// callTools runs the calls of one turn side by side and reports their results
// in order.
func (r *run) callTools(ctx context.Context, set *tools.Set, calls []llm.ToolCall) ([]llm.Message, error) {
	announced := make([]protocol.ToolCall, len(calls))
	for i, c := range calls {
		announced[i] = protocol.ToolCall{CallID: c.ID, Name: c.Name, Arguments: c.Arguments}
	}
	if err := r.stream.ToolCalls(announced); err != nil {
		return nil, err
	}
	texts := make([]chan string, len(calls))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, c := range calls {
		texts[i] = make(chan string, 1)
		wg.Go(func() { texts[i] <- r.callTool(ctx, set, c) })
	}
	results := make([]llm.Message, len(calls))
	for i, c := range calls {
		text := <-texts[i]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		results[i] = llm.Message{Role: llm.RoleTool, ToolCallID: c.ID, ToolName: c.Name, Content: text}
		if err := r.stream.ToolOutput(c.ID, c.Name, text); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// callTool returns the text for the model: the result, or what went wrong.
func (r *run) callTool(ctx context.Context, set *tools.Set, c llm.ToolCall) string {
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(toolTimeout, func() { cancel(errToolTimeout) })
	defer timer.Stop()
	asker := &asker{stream: r.stream, links: r.links, call: c, timer: timer}
	text, err := set.Call(context.WithValue(ctx, askerKey{}, asker), c.Name, c.Arguments)
	if err != nil && context.Cause(ctx) == errToolTimeout {
		err = errToolTimeout
	}
	asker.settle(err)
	log := r.log.With("tool", c.Name, "took", time.Since(start).Round(time.Millisecond))
	if err != nil {
		log.Warn("tool failed", "error", err)
		text = toolError(err)
	} else {
		log.Info("tool answered", "bytes", len(text))
	}
	if len(text) > maxToolText {
		text = text[:maxToolText] + fmt.Sprintf("\n[cut: the result has %d bytes]", len(text))
	}
	return text
}

var errToolTimeout = fmt.Errorf("the tool did not answer within %s", toolTimeout)

// toolError words a tool's failure for the model, and so for the person.
func toolError(err error) string {
	switch {
	case errors.Is(err, credentials.ErrAuthorizationDenied):
		return "The user refused to authorize access, or the authorization failed. The tool was not called. Tell the user, and do not ask again unless they want to."
	case errors.Is(err, credentials.ErrAuthorizationTimeout):
		return "Nobody answered the authorization request in time. The tool was not called. Tell the user that they can ask again."
	case errors.Is(err, credentials.ErrAuthorizationExpired):
		return "The authorization request expired. The tool was not called. Tell the user that they can ask again."
	}
	text := err.Error()
	if len(text) > 2<<10 {
		text = text[:2<<10] + "…"
	}
	return "Error: " + text
}
