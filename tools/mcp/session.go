// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
)

// session is one user's connection to the server. It is opened when it is first
// needed, and again when it has broken.
type session struct {
	client *Client
	used   time.Time // guarded by the client's mutex

	// ctx is for what outlives one call: streams of notifications. It has the
	// values of the ctx that opened the connection.
	opening chan struct{} // capacity 1: held by who opens the connection

	mu     sync.Mutex // guards the rest
	conn   *mcpclient.Client
	end    context.CancelFunc // ends what outlives calls
	ended  bool
	lists  map[identity.CallerKey]listing // by the very caller, see list
	asked  time.Time                      // when listing was last found to need consent
	change int                            // counts the server's changes
	legacy bool                           // the server takes nothing newer than 2025-11-25
}

// listing is what the server offers one caller.
type listing struct {
	tools  []mcpgo.Tool
	until  time.Time
	change int
}

func newSession(c *Client) *session {
	return &session{client: c, opening: make(chan struct{}, 1), lists: make(map[identity.CallerKey]listing)}
}

func (s *session) close() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.drop(nil)
}

// drop ends the connection, if it is still conn (nil: any).
func (s *session) drop(conn *mcpclient.Client) {
	s.mu.Lock()
	have, end := s.conn, s.end
	if have == nil || conn != nil && conn != have {
		s.mu.Unlock()
		return
	}
	s.conn, s.end = nil, nil
	s.change++
	s.mu.Unlock()
	end()
	_ = have.Close()
}

// connect returns the connection, opening it if there is none. One caller opens
// it; the others wait, each no longer than its ctx. The credential must have been
// prepared: nobody may wait here for another's consent.
func (s *session) connect(ctx context.Context) (*mcpclient.Client, error) {
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	conn, ended := s.conn, s.ended
	s.mu.Unlock()
	if conn != nil || ended {
		if ended {
			return nil, ErrClosed
		}
		return conn, nil
	}
	// Nobody is asked for consent in the background.
	long, end := context.WithCancel(credentials.WithoutAsking(context.WithoutCancel(ctx)))
	conn, err := s.open(ctx, long, false)
	if err == nil && !s.client.cfg.SSE && !mcpgo.IsModernProtocol(conn.ProtocolVersion()) && tellsChanges(conn) {
		// Servers of before 2026-07-28 tell changes on a stream of their own,
		// which must be asked for from the start.
		_ = conn.Close()
		conn, err = s.open(ctx, long, true)
	}
	if err != nil {
		end()
		return nil, err
	}
	if mcpgo.IsModernProtocol(conn.ProtocolVersion()) && tellsChanges(conn) {
		stop, err := conn.ListenAsync(long, mcpgo.SubscriptionFilter{ToolsListChanged: true}, func(err error) {
			s.client.cfg.Logger.Debug("mcp: notifications ended", "server", s.client.cfg.Name, "error", err)
		})
		if err == nil {
			context.AfterFunc(long, stop)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		end()
		_ = conn.Close()
		return nil, ErrClosed
	}
	s.conn, s.end = conn, end
	return conn, nil
}

func tellsChanges(conn *mcpclient.Client) bool {
	tools := conn.GetServerCapabilities().Tools
	return tools != nil && tools.ListChanged
}

// open opens one connection. What outlives ctx lives as long as long.
func (s *session) open(ctx, long context.Context, listen bool) (*mcpclient.Client, error) {
	cfg := s.client.cfg
	s.mu.Lock()
	legacy := s.legacy
	s.mu.Unlock()
	// Redirects are not followed: requests carry a user's credential.
	caller, _ := identity.FromContext(ctx)
	hc := &http.Client{Transport: onBehalfOf{caller, cfg.Transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var conn *mcpclient.Client
	var err error
	if cfg.SSE {
		conn, err = mcpclient.NewSSEMCPClient(cfg.URL, transport.WithHTTPClient(hc), transport.WithSSELogger(cfg.Logger))
	} else {
		options := []transport.StreamableHTTPCOption{transport.WithHTTPBasicClient(hc), transport.WithHTTPLogger(cfg.Logger)}
		if listen {
			//lint:ignore SA1019 servers of the older protocol tell of changed lists in no other way
			options = append(options, transport.WithContinuousListening())
		}
		conn, err = mcpclient.NewStreamableHttpClient(cfg.URL, options...)
	}
	if err != nil {
		return nil, fmt.Errorf("mcp: %s: %w", cfg.Name, err)
	}
	conn.OnNotification(func(n mcpgo.JSONRPCNotification) {
		if n.Method == mcpgo.MethodNotificationToolsListChanged {
			s.mu.Lock()
			s.change++
			s.mu.Unlock()
		}
	})
	err = s.limited(ctx, func(ctx context.Context) error {
		started := make(chan error, 1)
		go func() { started <- conn.Start(long) }()
		select {
		case err := <-started:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		req := mcpgo.InitializeRequest{}
		req.Params.ProtocolVersion = mcpgo.LATEST_PROTOCOL_VERSION
		if legacy {
			req.Params.ProtocolVersion = mcpgo.LATEST_LEGACY_PROTOCOL_VERSION
		}
		req.Params.ClientInfo = mcpgo.Implementation{Name: "agent-identity-go", Version: "1"}
		_, err := conn.Initialize(ctx, req)
		return err
	})
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// onBehalfOf gives requests that come from no call, such as the one that ends
// the session, the session's user, whom nobody asks for consent then.
type onBehalfOf struct {
	caller identity.Caller
	base   http.RoundTripper
}

func (t onBehalfOf) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, ok := identity.FromContext(req.Context()); !ok && !t.caller.Key().IsZero() {
		req = req.WithContext(credentials.WithoutAsking(identity.NewContext(req.Context(), t.caller)))
	}
	return t.base.RoundTrip(req)
}

// limited runs one request within its time limit. Running into it is not the
// caller's deadline, and so not context.DeadlineExceeded.
func (s *session) limited(ctx context.Context, request func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, s.client.cfg.Timeout)
	defer cancel()
	err := request(limit)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("nothing within %s", s.client.cfg.Timeout)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// request runs a request over the connection, and once more over a new one if
// the session has ended at the server.
func (s *session) request(ctx context.Context, do func(context.Context, *mcpclient.Client) error) error {
	for again := false; ; again = true {
		conn, err := s.connect(ctx)
		if err != nil {
			return err
		}
		err = s.limited(ctx, func(ctx context.Context) error { return do(ctx, conn) })
		broken := errors.Is(err, transport.ErrSessionTerminated) || errors.Is(err, transport.ErrTransportClosed)
		if errors.Is(err, mcpgo.UnsupportedProtocolVersionError{}) && mcpgo.IsModernProtocol(conn.ProtocolVersion()) {
			// It said that it knows the newest version, and does not.
			s.mu.Lock()
			broken, s.legacy = true, true
			s.mu.Unlock()
		}
		if !broken {
			return err
		}
		s.drop(conn)
		if again {
			return err
		}
	}
}

// list returns the server's tools for the caller in ctx. It is kept for this
// very caller: another token of the same user must first be accepted.
func (s *session) list(ctx context.Context) ([]mcpgo.Tool, error) {
	key, _ := identity.KeysFromContext(ctx)
	now := time.Now()
	s.mu.Lock()
	l, ok := s.lists[*key]
	change := s.change
	s.mu.Unlock()
	if ok && now.Before(l.until) && l.change == change {
		return l.tools, nil
	}
	var tools []mcpgo.Tool
	if err := s.client.prepare(ctx); err != nil {
		return nil, err
	}
	err := s.request(ctx, func(ctx context.Context, conn *mcpclient.Client) error {
		result, err := conn.ListTools(ctx, mcpgo.ListToolsRequest{})
		if err == nil {
			tools = result.Tools
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, l := range s.lists { // of tokens that have been renewed since
		if !now.Before(l.until) {
			delete(s.lists, other)
		}
	}
	s.asked = time.Time{}
	s.lists[*key] = listing{slices.Clip(tools), now.Add(s.client.cfg.ListLife), s.change}
	return tools, nil
}

// consentLife is how long it is believed that listing needs the user's consent.
// The stand-in works all the while, so that nothing waits for this to end.
const consentLife = 30 * time.Second

// needsConsent reports whether listing was found to need the user's consent a
// short while ago.
func (s *session) needsConsent(ctx context.Context) bool {
	key, _ := identity.KeysFromContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, listed := s.lists[*key]
	return !listed && time.Since(s.asked) < consentLife
}

func (s *session) setNeedsConsent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Now()
}

func (s *session) call(ctx context.Context, name string, args json.RawMessage) (*mcpgo.CallToolResult, error) {
	if err := s.client.prepare(ctx); err != nil {
		return nil, err
	}
	req := mcpgo.CallToolRequest{}
	req.Params.Name = name
	req.Params.Arguments = args
	var result *mcpgo.CallToolResult
	err := s.request(ctx, func(ctx context.Context, conn *mcpclient.Client) (err error) {
		result, err = conn.CallTool(ctx, req)
		return err
	})
	return result, err
}
