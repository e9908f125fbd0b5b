// SPDX-License-Identifier: Apache-2.0

// Package mcp makes the tools of MCP servers tools of an agent that serves many
// users: each user has a session of their own, and each request carries the
// credential of the user whom it is for.
//
//	docs := credentials.NewOAuth2Source(agent, …)
//	server, err := mcp.New(mcp.Config{
//		Name: "resources", Description: "Alibaba Cloud resources such as ECS instances",
//		URL: "https://openapi-mcp.cn-hangzhou.aliyuncs.com/…/mcp",
//		Transport: &credentials.Transport[credentials.OAuth2Token]{Source: docs, Hosts: []string{"openapi-mcp.cn-hangzhou.aliyuncs.com"}},
//	})
//	set := mcp.Combine(ctx, own, server) // before each call of the model
//
// # Consent
//
// Nobody is asked for consent just because a server exists: where its tools
// cannot even be listed without the user's grant, one stand-in tool is offered
// for all of them. When the model calls it, the user is asked, and the real
// tools take its place.
package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
)

// Config configures a [Client].
type Config struct {
	// Name is the server's name: letters, digits, _ and -, at most 32. It
	// begins the names of tools that clash, and names the stand-in. Required.
	Name string
	// Description says what the server's tools are about; a model reads it in
	// the stand-in tool.
	Description string
	// URL is the server's address. Required.
	URL string
	// SSE speaks the older HTTP with SSE transport (2024-11-05) instead of
	// streamable HTTP.
	SSE bool
	// Transport sends the requests. With a [credentials.Transport] they carry
	// the credential of the caller in ctx. If nil, http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout limits one request, without the time that a user takes to
	// consent. If zero, 30 seconds.
	Timeout time.Duration
	// MaxSessions bounds the users with a session; the least recently active
	// lose theirs. If zero, 256.
	MaxSessions int
	// ListLife is how long a list of tools is kept where the server does not
	// tell of changes. If zero, five minutes.
	ListLife time.Duration
	// MaxResult limits a result's text, in bytes. If zero, 64 KiB.
	MaxResult int
	// Logger gets what goes wrong in the background. If nil, nobody does.
	Logger *slog.Logger
}

// Client is a server's tools for many users. It is safe for concurrent use.
// Make one with [New].
type Client struct {
	cfg Config

	mu       sync.Mutex // guards the rest
	sessions map[identity.CallerKey]*session
	closed   bool
}

// ErrClosed reports a client that has been closed.
var ErrClosed = errors.New("mcp: the client is closed")

var serverName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// New makes a client. It does no I/O.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case !serverName.MatchString(cfg.Name):
		return nil, fmt.Errorf("mcp: Config.Name %.40q: want 1 to 32 letters, digits, _ and -", cfg.Name)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("mcp: %s: Config.URL %q: want an http or https URL", cfg.Name, cfg.URL)
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 256
	}
	if cfg.ListLife <= 0 {
		cfg.ListLife = 5 * time.Minute
	}
	if cfg.MaxResult <= 0 {
		cfg.MaxResult = 64 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, sessions: make(map[identity.CallerKey]*session)}, nil
}

// session finds the session of the user in ctx, or makes an empty one.
func (c *Client) session(ctx context.Context) (*session, error) {
	_, subject := identity.KeysFromContext(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	s := c.sessions[*subject]
	if s == nil {
		s = newSession(c)
		c.sessions[*subject] = s
		if len(c.sessions) > c.cfg.MaxSessions {
			c.evict(s)
		}
	}
	s.used = time.Now()
	return s, nil
}

// evict ends the least recently active session but keep, under c.mu.
func (c *Client) evict(keep *session) {
	var oldest identity.CallerKey
	var victim *session
	for key, s := range c.sessions {
		if s != keep && (victim == nil || s.used.Before(victim.used)) {
			oldest, victim = key, s
		}
	}
	if victim != nil {
		delete(c.sessions, oldest)
		go victim.close()
	}
}

// Forget ends the session of the user behind caller, for example when they sign
// out.
func (c *Client) Forget(caller identity.Caller) {
	c.mu.Lock()
	s := c.sessions[caller.Subject()]
	delete(c.sessions, caller.Subject())
	c.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// Close ends all sessions. Later calls fail with [ErrClosed]. It may be called
// twice.
func (c *Client) Close() {
	c.mu.Lock()
	sessions := c.sessions
	c.sessions, c.closed = nil, true
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range sessions {
		wg.Go(s.close)
	}
	wg.Wait()
}

// preparer is a transport that can get its credential ahead of a request, as
// [credentials.Transport] can.
type preparer interface {
	Prepare(ctx context.Context) error
}

// prepare gets the credential that a request will need, asking the user if it
// must: outside of the request, so that a person's time is not the server's.
func (c *Client) prepare(ctx context.Context) error {
	if p, ok := c.cfg.Transport.(preparer); ok {
		return p.Prepare(ctx)
	}
	return nil
}
