// SPDX-License-Identifier: Apache-2.0

// Package eino shows a decorated function as a native tool of
// github.com/cloudwego/eino. Where the user's consent is needed, the tool
// interrupts the graph; the application shows the link, and resumes the graph
// from its checkpoint when the user has decided.
package eino

import (
	"context"
	"errors"

	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/components/tool/utils"
	"github.com/cloudwego/eino/schema"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// Consent is what an interrupted tool wants the user to be asked. It is the Info
// of the interrupt, and part of the checkpoint: keep that as secret as the link.
type Consent struct {
	Tool, Provider string
	Scopes         []string
	URL            string // for this user's browser only
}

func init() { schema.RegisterName[*Consent]("agent_identity_consent") }

// NewTool makes fn, a function behind one of the Requires decorators, a tool of
// eino. The caller must be in the context that the graph is run with.
func NewTool[In, Out any](name, description string, fn func(context.Context, In) (Out, error)) (tool.InvokableTool, error) {
	return utils.InferTool(name, description, func(ctx context.Context, in In) (Out, error) {
		out, err := fn(credentials.WithoutAsking(ctx), in)
		if required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
			err = tool.Interrupt(ctx, &Consent{Tool: name, Provider: required.Provider, Scopes: required.Scopes, URL: required.URL})
		}
		return out, err
	})
}
