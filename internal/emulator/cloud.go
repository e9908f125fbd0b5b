// SPDX-License-Identifier: Apache-2.0

// Package emulator is the local cloud: Agent Identity, an OAuth and OpenID
// Connect server, a DashScope endpoint and example resources, on one loopback
// listener, one clock and one record of calls. They speak the real wire
// protocols and check what the real services check; what they answer is
// simulated and says so.
//
// Package identity/identitytest offers it to tests and programs.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/dashscope"
	"github.com/agent-identity/agent-identity-go/internal/emulator/demo"
	"github.com/agent-identity/agent-identity-go/internal/emulator/dingtalk"
	"github.com/agent-identity/agent-identity-go/internal/emulator/identity"
	"github.com/agent-identity/agent-identity-go/internal/emulator/mcp"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oss"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// Cloud is a running local cloud.
type Cloud struct {
	core.Base
	Identity *identity.Service
	OAuth    *oauth.Server
	Model    *dashscope.Service
	OSS      *oss.Service
	DingTalk *dingtalk.Service
	MCP      *mcp.Service

	server *http.Server
	served chan error
}

// Config configures [Start].
type Config struct {
	Addr  string // host:port to listen on; port 0 takes a free one
	URL   string // where others reach the cloud; "" for the address listened on
	Users []core.User
	Log   *slog.Logger // the HTTP server's complaints; nil for none
	// Control, if not nil, serves /control/.
	Control http.Handler
}

// Start listens. Other addresses than loopback ones are served only for a URL
// that says where others reach the cloud.
func Start(cfg Config) (*Cloud, error) {
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("local cloud: address %q: want host:port", cfg.Addr)
	}
	if !loopback.Is(host) && cfg.URL == "" {
		return nil, fmt.Errorf("local cloud: address %q: only loopback addresses are served, unless you say by a URL where others reach the cloud", cfg.Addr)
	}
	public, err := url.Parse(cfg.URL)
	if err != nil || cfg.URL != "" && (public.Host == "" || public.Scheme != "http" && public.Scheme != "https" || public.Path != "" || public.RawQuery != "") {
		return nil, fmt.Errorf("local cloud: URL %q: want scheme and host alone, such as http://localhost:9000", cfg.URL)
	}
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("local cloud: %w", err)
	}
	c := &Cloud{served: make(chan error, 1)}
	listen := listener.Addr().String()
	if cfg.URL == "" {
		cfg.URL, public.Host = "http://"+listen, listen
	}
	c.Base = core.Base{URL: cfg.URL, Clock: &core.Clock{}, Calls: &core.Recorder{}, Users: cfg.Users, Faults: &core.Faults{}}
	c.Identity = identity.New(&c.Base)
	c.Model = dashscope.New(&c.Base)
	c.OSS = oss.New(&c.Base, c.Identity)
	if c.OAuth, err = oauth.New(&c.Base); err != nil {
		_ = listener.Close()
		return nil, err
	}
	c.DingTalk = dingtalk.New(&c.Base, c.OAuth)
	c.MCP = mcp.New(&c.Base, c.OAuth)
	mux := http.NewServeMux()
	c.DingTalk.Routes(mux)
	c.MCP.Routes(mux)
	mcp.NewGateway(&c.Base, c.Identity).Routes(mux)
	c.Identity.Routes(mux)
	c.OAuth.Routes(mux)
	c.Model.Routes(mux)
	(&demo.Service{Base: &c.Base, Identity: c.Identity, OAuth: c.OAuth}).Routes(mux)
	mux.HandleFunc("GET /{$}", c.home)
	if cfg.Control != nil {
		mux.Handle("/control/", cfg.Control)
	}
	c.server = &http.Server{
		Handler: core.Guard(public.Host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if oss.Signed(r) {
				c.OSS.ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		})),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	if cfg.Log != nil {
		c.server.ErrorLog = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)
	}
	go func() { c.served <- c.server.Serve(listener) }()
	return c, nil
}

var homePage = template.Must(template.New("home").Parse(`<h1>Local cloud · 本地云</h1>
<p>Agent Identity, sign-in, model and example resources for offline work. Nothing here is real.</p>
<ul><li>OpenID Connect issuer: <code>{{.Issuer}}</code></li><li>Calls answered: {{.Calls}}</li></ul>`))

func (c *Cloud) home(w http.ResponseWriter, _ *http.Request) {
	core.WritePage(w, http.StatusOK, "Local cloud", homePage, map[string]any{"Issuer": c.OAuth.Issuer(), "Calls": len(c.Calls.Calls())})
}

// Close stops the cloud. Requests under way may end until ctx does.
func (c *Cloud) Close(ctx context.Context) error {
	err := c.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, c.server.Close())
	}
	if served := <-c.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
