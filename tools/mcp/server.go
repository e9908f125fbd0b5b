// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/tools"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Name and Version say what the server is. Name is required.
	Name, Version string
	// Tools are served. Required.
	Tools *tools.Set
	// Authenticate verifies the bearer token of an HTTP request and says who
	// calls. An error is answered with 401. Required for HTTP.
	Authenticate func(ctx context.Context, token identity.Secret) (identity.Caller, error)
	// Resource and AuthorizationServers describe, for clients, where tokens
	// come from (RFC 9728). If Resource is empty, nothing is described.
	Resource             string
	AuthorizationServers []string
	Scopes               []string
	// ConsentURL replaces the authorization link that a user is shown, for
	// example by a page of the application's own that first checks who opens
	// it; see [credentials.CallbackHandler.Expect]. If nil, the service's link.
	ConsentURL func(ctx context.Context, a credentials.Authorization) (string, error)
	// ConsentTimeout limits how long a tool waits after a client has said that
	// the user opened the link. If zero, two minutes.
	ConsentTimeout time.Duration
	// Logger gets one line for each failed call. If nil, nobody does.
	Logger *slog.Logger
}

// Server serves tools over MCP: as an [http.Handler] over streamable HTTP, each
// request for the user whose bearer token it carries, and over stdio for one
// user.
//
// A tool that needs a user's consent asks for it by URL mode elicitation where
// the client supports that, in the way of the client's protocol version, and
// goes on when the user has granted access. For other clients the result says
// which link the user has to open. It is safe for concurrent use.
type Server struct {
	cfg  ServerConfig
	mcp  *server.MCPServer
	http http.Handler
	key  []byte // seals session ids
}

// NewServer makes a server.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Name == "" || cfg.Tools == nil {
		return nil, errors.New("mcp: ServerConfig.Name and Tools are required")
	}
	if cfg.ConsentTimeout <= 0 {
		cfg.ConsentTimeout = 2 * time.Minute
	}
	if cfg.Version == "" {
		cfg.Version = "0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails, by its contract
	s.mcp = server.NewMCPServer(cfg.Name, cfg.Version, server.WithToolCapabilities(false), server.WithElicitation(), server.WithRecovery())
	for t := range cfg.Tools.All() {
		s.mcp.AddTool(mcpgo.NewToolWithRawSchema(t.Name(), t.Description(), t.Schema()), s.handler(t))
	}
	s.http = server.NewStreamableHTTPServer(s.mcp,
		server.WithSessionIdManagerResolver(sessions{s.key}), server.WithSessionIdleTTL(30*time.Minute),
		server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)), // it would write session ids
		server.WithDisableLocalhostProtection(true))                    // the token decides who may call, not the address
	return s, nil
}

// consentID names the one thing that a tool may ask for.
const consentID = "authorization"

func (s *Server) handler(t *tools.Tool) server.ToolHandlerFunc {
	return func(ctx context.Context, req mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		args, err := json.Marshal(req.Params.Arguments)
		if err != nil || req.Params.Arguments == nil {
			args = nil
		}
		quiet := credentials.WithoutAsking(ctx)
		if answer := server.ElicitationResponse(req.Params.InputResponses, consentID); answer != nil {
			if answer.Action != mcpgo.ElicitationResponseActionAccept {
				return mcpgo.NewToolResultError("The user did not want to authorize access. Do not ask again unless they want to."), nil
			}
			// They have opened the link; the tool waits for what they decide.
			waiting, cancel := context.WithTimeout(ctx, s.cfg.ConsentTimeout)
			defer cancel()
			quiet = credentials.WithAuthorizer(waiting, func(context.Context, credentials.Authorization) error { return nil })
		}
		text, err := t.Call(quiet, string(args))
		if err == nil {
			return mcpgo.NewToolResultText(text), nil
		}
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, ctxErr
		}
		if required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
			return s.ask(ctx, t, required)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = credentials.ErrAuthorizationTimeout
		}
		s.cfg.Logger.WarnContext(ctx, "mcp: tool failed", "tool", t.Name(), "error", err)
		return mcpgo.NewToolResultError(err.Error()), nil
	}
}

// ask asks for the user's consent, in a way that the client understands.
func (s *Server) ask(ctx context.Context, t *tools.Tool, required *credentials.AuthorizationRequiredError) (*mcpgo.CallToolResult, error) {
	link := required.URL
	if s.cfg.ConsentURL != nil {
		var err error
		link, err = s.cfg.ConsentURL(ctx, credentials.Authorization{
			Provider: required.Provider, Scopes: required.Scopes, URL: required.URL, SessionURI: required.SessionURI,
			Caller: required.Caller, Tool: t.Name(),
		})
		if err != nil {
			s.cfg.Logger.WarnContext(ctx, "mcp: consent link", "tool", t.Name(), "error", err)
			return mcpgo.NewToolResultError("The user must authorize access first, but there is no link to do so now. Try again later."), nil
		}
	}
	message := fmt.Sprintf("%s needs access to %s (scopes: %s). Open the link to decide.", t.Name(), required.Provider, strings.Join(required.Scopes, " "))
	if opensLinks(ctx) {
		return server.NewInputRequestBuilder("").Elicit(consentID, mcpgo.ElicitationParams{
			Mode: mcpgo.ElicitationModeURL, Message: message, URL: link, ElicitationID: elicitationID(required.SessionURI),
		}).ToolResult(), nil
	}
	return mcpgo.NewToolResultError(message + "\n" + link + "\nShow the user this link, and call the tool again when they have decided."), nil
}

// elicitationID names a session without giving its URI away.
func elicitationID(sessionURI string) string {
	sum := sha256.Sum256([]byte(sessionURI))
	return hex.EncodeToString(sum[:16])
}

// opensLinks reports whether the client can open links for its user.
func opensLinks(ctx context.Context) bool {
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern {
		return info.ClientCapabilities != nil && info.ClientCapabilities.Elicitation != nil && info.ClientCapabilities.Elicitation.URL != nil
	}
	session, ok := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo)
	if !ok {
		return false
	}
	can := session.GetClientCapabilities().Elicitation
	return can != nil && can.URL != nil
}

// ServeHTTP serves one request of streamable HTTP.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, server.WellKnownProtectedResourcePath) && r.Method == http.MethodGet && s.cfg.Resource != "" {
		server.NewProtectedResourceMetadataHandler(server.ProtectedResourceMetadataConfig{
			Resource: s.cfg.Resource, AuthorizationServers: s.cfg.AuthorizationServers, ScopesSupported: s.cfg.Scopes,
		}).ServeHTTP(w, r)
		return
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if s.cfg.Authenticate == nil || !strings.EqualFold(scheme, "Bearer") || token == "" {
		s.refuse(w, "a bearer token is required")
		return
	}
	caller, err := s.cfg.Authenticate(r.Context(), identity.NewSecret(token))
	if err != nil {
		s.cfg.Logger.WarnContext(r.Context(), "mcp: token refused", "error", err)
		s.refuse(w, "the bearer token is not accepted")
		return
	}
	s.http.ServeHTTP(w, r.WithContext(identity.NewContext(r.Context(), caller)))
}

func (s *Server) refuse(w http.ResponseWriter, reason string) {
	challenge := `Bearer error="invalid_token"`
	if u, err := url.Parse(s.cfg.Resource); err == nil && u.Host != "" {
		challenge += fmt.Sprintf(", resource_metadata=%q", u.Scheme+"://"+u.Host+server.WellKnownProtectedResourcePath+strings.TrimRight(u.Path, "/"))
	}
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, reason, http.StatusUnauthorized)
}

// ServeStdio serves one client over in and out, for the caller in ctx, until ctx
// or in ends.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	caller, _ := identity.FromContext(ctx)
	stdio := server.NewStdioServer(s.mcp)
	stdio.SetContextFunc(func(ctx context.Context) context.Context { return identity.NewContext(ctx, caller) })
	err := stdio.Listen(ctx, in, out)
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// sessions makes session ids that are worth something for one user alone: who
// brings another's is told that there is no such session.
type sessions struct{ key []byte }

// ResolveSessionIdManager implements the interface of mcp-go.
//
//lint:ignore ST1003 the spelling is the interface's
func (s sessions) ResolveSessionIdManager(r *http.Request) server.SessionIdManager {
	_, subject := identity.KeysFromContext(r.Context())
	return userSessions{s.key, *subject}
}

type userSessions struct {
	key     []byte
	subject identity.CallerKey
}

func (s userSessions) seal(id string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(s.subject[:])
	mac.Write([]byte(id))
	return id + "." + hex.EncodeToString(mac.Sum(nil)[:16])
}

func (s userSessions) Generate() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails, by its contract
	return s.seal(hex.EncodeToString(id))
}

var errNoSession = errors.New("mcp: there is no such session of this user")

func (s userSessions) Validate(sessionID string) (isTerminated bool, err error) {
	id, _, _ := strings.Cut(sessionID, ".")
	if !hmac.Equal([]byte(s.seal(id)), []byte(sessionID)) {
		return true, nil // 404, so that a client begins anew
	}
	return false, nil
}

func (s userSessions) Terminate(sessionID string) (isNotAllowed bool, err error) {
	if ended, _ := s.Validate(sessionID); ended {
		return false, errNoSession
	}
	return false, nil
}
