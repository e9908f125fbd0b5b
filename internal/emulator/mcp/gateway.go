// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/identity"
)

// GatewayPath is where the AI gateway's MCP server is.
const GatewayPath = "/mcp/gateway"

// Gateway is the local cloud's AI gateway: an MCP server that takes workload
// access tokens, with or without "Bearer" before them, and decides by user what
// may be called: everybody "whoami", and alice alone "restart_server".
type Gateway struct {
	*core.Base
	Identity *identity.Service

	http *server.StreamableHTTPServer
}

type visitor struct{ workload, user string }

type visitorKey struct{}

// NewGateway makes a gateway.
func NewGateway(base *core.Base, id *identity.Service) *Gateway {
	g := &Gateway{Base: base, Identity: id}
	s := server.NewMCPServer("gateway", "1.0.0", server.WithToolCapabilities(false), server.WithRecovery())
	s.AddTool(mcp.NewTool("whoami", mcp.WithDescription("Says which agent calls, and for whom.")),
		g.tool("whoami", func(v visitor) *mcp.CallToolResult {
			return mcp.NewToolResultText(v.workload + " for " + v.user + " (" + source + ")")
		}))
	s.AddTool(mcp.NewTool("restart_server", mcp.WithDescription("Restarts a server. Not everybody may do that.")),
		g.tool("restart_server", func(v visitor) *mcp.CallToolResult {
			if v.user != "alice" {
				return mcp.NewToolResultError("denied by the gateway's policy: " + v.user + " may not restart servers")
			}
			return mcp.NewToolResultText("restarted (" + source + ")")
		}))
	g.http = server.NewStreamableHTTPServer(s, server.WithEndpointPath(GatewayPath), server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)), server.WithDisableLocalhostProtection(true))
	return g
}

func (g *Gateway) tool(name string, answer func(visitor) *mcp.CallToolResult) server.ToolHandlerFunc {
	return func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		v, _ := ctx.Value(visitorKey{}).(visitor)
		g.Calls.Add(core.Call{Time: g.Clock.Now(), Service: "gateway", Op: name, User: v.user, Target: v.workload, Status: http.StatusOK})
		return answer(v), nil
	}
}

// Routes adds the gateway's endpoint to mux.
func (g *Gateway) Routes(mux *http.ServeMux) {
	mux.HandleFunc(GatewayPath, func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		workload, user, ok := g.Identity.Bearer(token)
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			g.Calls.Add(core.Call{Time: g.Clock.Now(), Service: "gateway", Op: "Connect", Status: http.StatusUnauthorized, Code: "invalid_token"})
			http.Error(w, "the workload access token is missing, wrong or has expired", http.StatusUnauthorized)
			return
		}
		g.http.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, visitor{workload, user})))
	})
}
