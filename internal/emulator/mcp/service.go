// SPDX-License-Identifier: Apache-2.0

// Package mcp is the local cloud's MCP server: "resourcecenter", which lists the
// cloud resources of the signed-in user. It wants an OAuth2 access token of the
// local authorization server, with the scope /acs/mcp-server.
package mcp

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
)

// Scope is what an access token needs.
const Scope = "/acs/mcp-server"

// Path is where the server is.
const Path = "/mcp/resourcecenter"

const source = "simulated by the local cloud of agent-identity-go"

// Service is the local MCP server.
type Service struct {
	*core.Base
	OAuth *oauth.Server

	mcp  *server.MCPServer
	http *server.StreamableHTTPServer
}

// resource is one cloud resource.
type resource struct {
	ResourceType string `json:"ResourceType"`
	ResourceID   string `json:"ResourceId"`
	Name         string `json:"ResourceName"`
	Region       string `json:"RegionId"`
	Status       string `json:"Status"`
}

// New makes a service.
func New(base *core.Base, auth *oauth.Server) *Service {
	s := &Service{Base: base, OAuth: auth}
	s.mcp = server.NewMCPServer("resourcecenter", "1.0.0", server.WithToolCapabilities(true), server.WithRecovery(),
		server.WithInstructions("Cloud resources of the signed-in user. "+source+"."))
	s.mcp.AddTool(mcp.NewTool("SearchResources",
		mcp.WithDescription("Lists the user's Alibaba Cloud resources, such as ECS instances (servers), OSS buckets and RDS databases."),
		mcp.WithString("resource_type", mcp.Description("only this type, for example ACS::ECS::Instance; without one all types")),
		mcp.WithString("region", mcp.Description("only this region, for example cn-hangzhou; without one all regions")),
		mcp.WithReadOnlyHintAnnotation(true),
	), s.search)
	s.mcp.AddTool(mcp.NewTool("GetResourceCounts",
		mcp.WithDescription("Counts the user's Alibaba Cloud resources by type."),
		mcp.WithReadOnlyHintAnnotation(true),
	), s.counts)
	s.http = server.NewStreamableHTTPServer(s.mcp, server.WithEndpointPath(Path), server.WithSessionIdleTTL(30*time.Minute),
		server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)), server.WithDisableLocalhostProtection(true)) // the guard in front of all services does that
	return s
}

// Routes adds the service's endpoints to mux.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc(Path, s.serve)
	mux.HandleFunc("GET /.well-known/oauth-protected-resource"+Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json") // RFC 9728
		_ = json.NewEncoder(w).Encode(map[string]any{
			"resource": s.URL + Path, "authorization_servers": []string{s.OAuth.Issuer()}, "scopes_supported": []string{Scope},
		})
	})
}

type userKey struct{}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, description, extra string) {
		w.Header().Set("WWW-Authenticate", `Bearer error="`+code+`", error_description="`+description+`"`+extra+
			`, resource_metadata="`+s.URL+"/.well-known/oauth-protected-resource"+Path+`"`)
		s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "mcp", Op: "Connect", Status: status, Code: code})
		http.Error(w, description, status)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims, err := s.OAuth.VerifyAccess(token)
	switch {
	case !ok || err != nil:
		refuse(http.StatusUnauthorized, "invalid_token", "the access token is missing, of another audience, or has expired", "")
		return
	case !slices.Contains(claims.Scopes, Scope):
		refuse(http.StatusForbidden, "insufficient_scope", "the access token does not have the scope "+Scope, `, scope="`+Scope+`"`)
		return
	}
	s.http.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, claims.Subject)))
}

// resources are the same for a user each time.
func (s *Service) resources(user string) []resource {
	owner := user
	if u, ok := s.User(user); ok {
		owner = strings.ToLower(strings.Fields(u.Name)[0])
	}
	return []resource{
		{"ACS::ECS::Instance", "i-bp1" + owner + "01", owner + "-web-1", "cn-hangzhou", "Running"},
		{"ACS::ECS::Instance", "i-bp1" + owner + "02", owner + "-web-2", "cn-hangzhou", "Running"},
		{"ACS::ECS::Instance", "i-2ze" + owner + "03", owner + "-batch", "cn-beijing", "Stopped"},
		{"ACS::OSS::Bucket", owner + "-files", owner + "-files", "cn-hangzhou", "Available"},
		{"ACS::RDS::DBInstance", "rm-" + owner + "01", owner + "-orders", "cn-beijing", "Running"},
	}
}

func (s *Service) search(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	user, kind, region := s.record(ctx, "SearchResources"), req.GetString("resource_type", ""), req.GetString("region", "")
	found := []resource{}
	for _, r := range s.resources(user) {
		if (kind == "" || strings.EqualFold(r.ResourceType, kind)) && (region == "" || r.Region == region) {
			found = append(found, r)
		}
	}
	return mcp.NewToolResultJSON(map[string]any{"Resources": found, "source": source})
}

func (s *Service) counts(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	counts := map[string]int{}
	for _, r := range s.resources(s.record(ctx, "GetResourceCounts")) {
		counts[r.ResourceType]++
	}
	return mcp.NewToolResultJSON(map[string]any{"ResourceCounts": counts, "source": source})
}

// record notes a call and says whose it is.
func (s *Service) record(ctx context.Context, op string) string {
	user, _ := ctx.Value(userKey{}).(string)
	s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "mcp", Op: op, User: user, Status: http.StatusOK})
	return user
}

// Announce adds a tool that answers with text, and tells connected clients.
func (s *Service) Announce(name, description, text string) {
	s.mcp.AddTool(mcp.NewTool(name, mcp.WithDescription(description)), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.record(ctx, name)
		return mcp.NewToolResultText(text), nil
	})
}
