// SPDX-License-Identifier: Apache-2.0

// Package gosdk shows a decorated function as a native tool of
// github.com/modelcontextprotocol/go-sdk. The user's consent is asked for in the
// way of MCP: by URL elicitation, after which the call goes on.
package gosdk

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
)

const consentID = "authorization"

// consentTimeout is how long a tool waits after the user has opened the link.
const consentTimeout = 2 * time.Minute

// AddTool adds fn, a function behind one of the Requires decorators, to a server.
func AddTool[In any](s *mcp.Server, t *mcp.Tool, fn func(context.Context, In) (string, error)) {
	mcp.AddTool(s, t, func(ctx context.Context, req *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
		ctx = credentials.WithoutAsking(withCaller(ctx, req))
		if answer, ok := req.Params.InputResponses[consentID].(*mcp.ElicitResult); ok {
			if answer.Action != "accept" {
				return nil, nil, errors.New("the user did not want to authorize access")
			}
			waiting, cancel := context.WithTimeout(ctx, consentTimeout)
			defer cancel()
			ctx = credentials.WithAuthorizer(waiting, func(context.Context, credentials.Authorization) error { return nil })
		}
		text, err := fn(ctx, in)
		if required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{consentID: &mcp.ElicitParams{
				Mode: "url", Message: t.Name + " needs access to " + required.Provider + ".", URL: required.URL, ElicitationID: consentID,
			}}}, nil, nil
		}
		if err != nil {
			return nil, nil, err // its text is for the model
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
}

// callerKey is where Verifier puts the caller.
const callerKey = "caller"

// Verifier makes a token verifier of go-sdk's auth package from a function that
// says who a bearer token belongs to.
func Verifier(callerOf func(ctx context.Context, token identity.Secret) (identity.Caller, error)) auth.TokenVerifier {
	return func(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
		caller, err := callerOf(ctx, identity.NewSecret(token))
		if err != nil {
			return nil, errors.Join(auth.ErrInvalidToken, err)
		}
		end := caller.TokenExpiry()
		if end.IsZero() {
			end = time.Now().Add(time.Hour)
		}
		subject := caller.Subject()
		return &auth.TokenInfo{
			// The session belongs to this user, and to nobody else.
			UserID: string(subject[:]), Expiration: end, Extra: map[string]any{callerKey: caller},
		}, nil
	}
}

func withCaller(ctx context.Context, req *mcp.CallToolRequest) context.Context {
	if req.Extra != nil && req.Extra.TokenInfo != nil {
		if caller, ok := req.Extra.TokenInfo.Extra[callerKey].(identity.Caller); ok {
			return identity.NewContext(ctx, caller)
		}
	}
	return ctx
}
