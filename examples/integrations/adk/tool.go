// SPDX-License-Identifier: Apache-2.0

// Package adk shows a decorated function as a native tool of
// google.golang.org/adk (Agent Development Kit). Where the user's consent is
// needed, the tool asks for a confirmation in ADK's way: the application shows
// the link that comes with it, and confirms when the user has decided.
package adk

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/adk/v2/agent"
	"google.golang.org/adk/v2/tool"
	"google.golang.org/adk/v2/tool/functiontool"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// Consent is the payload of the confirmation: what the user is asked for. It
// becomes part of the session's events: keep those as secret as the link.
type Consent struct {
	Tool     string   `json:"tool"`
	Provider string   `json:"provider"`
	Scopes   []string `json:"scopes"`
	URL      string   `json:"url"` // for this user's browser only
}

// NewTool makes fn, a function behind one of the Requires decorators, a tool of
// ADK. The caller must be in the context that the runner is given.
func NewTool[In, Out any](name, description string, fn func(context.Context, In) (Out, error)) (tool.Tool, error) {
	return functiontool.New(functiontool.Config{Name: name, Description: description}, func(ctx agent.Context, in In) (Out, error) {
		out, err := fn(credentials.WithoutAsking(ctx), in)
		required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err)
		if !ok {
			return out, err
		}
		err = ctx.RequestConfirmation(name+" needs access to "+required.Provider+": let the user open the link, and confirm when they have decided.",
			Consent{Tool: name, Provider: required.Provider, Scopes: required.Scopes, URL: required.URL})
		if err != nil {
			return out, err
		}
		ctx.Actions().SkipSummarization = true
		return out, fmt.Errorf("%s: %w", name, tool.ErrConfirmationRequired)
	})
}
