// SPDX-License-Identifier: Apache-2.0

// Package mcpgo shows a decorated function as a native tool of
// github.com/mark3labs/mcp-go. The user's consent is asked for by URL
// elicitation, after which the call goes on. Package tools/mcp does the same for
// a whole tools.Set, and more.
package mcpgo

import (
	"context"
	"errors"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/agent-identity/agent-identity-go/credentials"
)

const consentID = "authorization"

// consentTimeout is how long a tool waits after the user has opened the link.
const consentTimeout = 2 * time.Minute

// Handler makes fn, a function behind one of the Requires decorators, a handler
// for [server.MCPServer.AddTool]. The caller must be in the context; put it there
// by server.WithHTTPContextFunc, after verifying who calls.
func Handler[In any](name string, fn func(context.Context, In) (string, error)) server.ToolHandlerFunc {
	return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var in In
		if err := req.BindArguments(&in); err != nil {
			return mcp.NewToolResultError("the arguments are not valid: " + err.Error()), nil
		}
		ctx = credentials.WithoutAsking(ctx)
		if answer := server.ElicitationResponse(req.Params.InputResponses, consentID); answer != nil {
			if answer.Action != mcp.ElicitationResponseActionAccept {
				return mcp.NewToolResultError("the user did not want to authorize access"), nil
			}
			waiting, cancel := context.WithTimeout(ctx, consentTimeout)
			defer cancel()
			ctx = credentials.WithAuthorizer(waiting, func(context.Context, credentials.Authorization) error { return nil })
		}
		text, err := fn(ctx, in)
		if required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
			return server.NewInputRequestBuilder("").Elicit(consentID, mcp.ElicitationParams{
				Mode: mcp.ElicitationModeURL, Message: name + " needs access to " + required.Provider + ".", URL: required.URL, ElicitationID: consentID,
			}).ToolResult(), nil
		}
		if err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
		return mcp.NewToolResultText(text), nil
	}
}
