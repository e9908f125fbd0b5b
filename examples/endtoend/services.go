// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/agent"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/backend"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/frontend"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/settings"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/tools/dingtalk"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

// How long the parts of a stop may take; together less than five seconds.
const (
	finishGrace = 2 * time.Second // for answers to end by themselves
	abortGrace  = 2 * time.Second // for answers to be closed as failed
	stopGrace   = 500 * time.Millisecond
)

// callbackPath is where the browser returns after consent.
const callbackPath = "/callback"

// keepAlive keeps connections to few hosts, and to those many.
func keepAlive() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.MaxIdleConns = 256, 1024
	return web.Transport{Base: t}
}

// newClient makes the service client; its calls carry the request's id and
// trace.
func newClient(cfg identity.Config) (*identity.Client, error) {
	cfg.HTTPClient = &http.Client{Transport: keepAlive()}
	return identity.New(cfg)
}

// openStore opens a service's store. Each service has keys of its own.
func openStore(s *settings.Settings, service string) (store.Closer, error) {
	var key []byte
	if !s.StoreKey.IsZero() {
		var err error
		if key, err = store.ParseKey(s.StoreKey.Reveal()); err != nil {
			return nil, fmt.Errorf("STORE_KEY: %w", err)
		}
	}
	opened, err := store.Open(s.Store, "agent-identity-endtoend/"+service+"/", key)
	if err != nil {
		return nil, fmt.Errorf("the %s's store (-store, STORE, STORE_KEY): %w", service, err)
	}
	return opened, nil
}

// agentService is the agent with what it needs.
type agentService struct {
	server *agent.Server
	http   *http.Server
	mcp    []*mcp.Client
	memory store.Closer
	cancel context.CancelFunc // ends listening for wake-ups
	log    *slog.Logger
}

// newAgentService makes the agent; workloadName may be "", then it is the
// environment's.
func newAgentService(s settings.Settings, client *identity.Client, workloadName string, log *slog.Logger) (a *agentService, err error) {
	log = log.With("service", "agent")
	ctx, cancel := context.WithCancel(context.Background())
	a = &agentService{cancel: cancel, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop(0))
			a = nil
		}
	}()
	if a.memory, err = openStore(&s, "agent"); err != nil {
		return a, err
	}
	if n, ok := a.memory.(credentials.Notifier); ok {
		go func() { _ = credentials.ListenAuthorizations(ctx, n) }()
	}
	verifier, err := idtoken.New(s.Issuer, s.ClientID)
	if err != nil {
		return a, err
	}
	self, err := workload.New(workload.Config{Client: client, Name: workloadName})
	if err != nil {
		return a, err
	}
	transport := keepAlive()
	endpoint := func(string) string { return s.OSSEndpoint }
	if s.OSSEndpoint == "" {
		endpoint = nil
	}
	set, err := agent.NewTools(agent.ToolConfig{
		Agent: self, Transport: transport, ServiceURL: s.ServiceURL, CallbackURL: s.BaseURL + callbackPath, ConsentTimeout: s.ConsentTimeout,
		APIKeyProvider: s.APIKeyProvider, OAuth2Provider: s.OAuth2Provider, OAuth2Scopes: s.OAuth2Scopes,
		OSS: oss.Config{Bucket: s.Bucket, Region: s.BucketRegion, Endpoint: endpoint}, File: s.BucketFile,
		DingTalk:         dingtalk.Config{Endpoint: s.DingTalkEndpoint, Document: s.Document, HTTPClient: &http.Client{Transport: transport, Timeout: 30 * time.Second}},
		DingTalkProvider: s.DingTalkProvider, DingTalkScopes: []string{"openid"},
	})
	if err != nil {
		return a, err
	}
	if set.Len() == 0 && s.MCPServer == "" && s.Gateway == "" {
		log.Warn("no tool is configured: the agent can only talk")
	}
	server := agent.MCPConfig{
		Agent: self, Transport: transport, URL: s.MCPServer, Provider: s.MCPProvider, Scopes: s.MCPScopes,
		CallbackURL: s.BaseURL + callbackPath, ConsentTimeout: s.ConsentTimeout, Log: log,
	}
	if server.URL != "" {
		client, err := agent.NewMCP(server)
		if err != nil {
			return a, err
		}
		a.mcp = append(a.mcp, client)
	}
	if server.URL = s.Gateway; server.URL != "" {
		client, err := agent.NewGateway(server)
		if err != nil {
			return a, err
		}
		a.mcp = append(a.mcp, client)
	}
	model, err := llm.New(llm.Config{
		Model: s.Model, BaseURL: s.ModelBaseURL, APIKey: llm.StaticKey(s.ModelKey), HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		return a, err
	}
	a.server = agent.New(agent.Config{Model: model, Tools: set, Servers: a.mcp, Verifier: verifier, Store: a.memory, Log: log})
	return a, nil
}

func (a *agentService) serve(l net.Listener, failed chan<- error) {
	a.http = serve(l, a.server, a.log, failed)
}

// stop ends the agent. Answers have grace to end by themselves; then they are
// closed as failed, and say why.
func (a *agentService) stop(grace time.Duration) error {
	var errs []error
	if a.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), grace+stopGrace)
		defer cancel()
		timer := time.AfterFunc(grace, a.server.Abort)
		defer timer.Stop()
		if a.http.Shutdown(ctx) != nil {
			errs = append(errs, a.http.Close())
		}
	}
	a.cancel()
	for _, client := range a.mcp {
		client.Close()
	}
	if a.memory != nil {
		errs = append(errs, a.memory.Close())
	}
	return errors.Join(errs...)
}

// backendService is the backend with what it needs.
type backendService struct {
	http  *http.Server
	store store.Closer
	serve func(net.Listener, chan<- error)
}

func newBackendService(s settings.Settings, client *identity.Client, simulated []string, log *slog.Logger) (b *backendService, err error) {
	log = log.With("service", "backend")
	b = &backendService{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop(nil))
			b = nil
		}
	}()
	verifier, err := idtoken.New(s.Issuer, s.ClientID)
	if err != nil {
		return b, err
	}
	if b.store, err = openStore(&s, "backend"); err != nil {
		return b, err
	}
	// Where a store drops what is oldest, what anybody can fill is apart from
	// what users have.
	logins := store.Store(b.store)
	if s.Store == "memory:" {
		logins = store.NewMemory(10_000)
	}
	var page fs.FS = frontend.Files()
	if s.Frontend != "" {
		if _, err := os.Stat(s.Frontend + "/index.html"); err != nil {
			return b, fmt.Errorf("the folder of the page (-frontend, FRONTEND): %w", err)
		}
		page = os.DirFS(s.Frontend)
	}
	server, err := backend.New(backend.Config{
		BaseURL: s.BaseURL, RedirectURL: s.RedirectURL, ClientID: s.ClientID, Verifier: verifier,
		AgentURL: s.AgentURL, AgentToken: s.AgentToken, Framework: backend.Framework(s.Framework),
		Identity: client, Logins: logins, Sessions: b.store, SessionIdle: s.SessionIdle,
		Limits:         backend.Limits{SignIns: s.SignInLimit, Chats: s.ChatLimit, Requests: s.RequestLimit},
		TrustedProxies: s.TrustedProxies, AllowedOrigins: s.AllowedOrigins,
		Frontend: page, OtherFrontend: s.Frontend != "", Simulated: simulated, Log: log,
	})
	if err != nil {
		return b, err
	}
	b.serve = func(l net.Listener, failed chan<- error) { b.http = serve(l, server, log, failed) }
	return b, nil
}

// stop ends the backend. Answers have some time to end by themselves; then
// abort, if there is one, is called, and they have some more.
func (b *backendService) stop(abort func()) error {
	var errs []error
	if b.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), finishGrace+abortGrace)
		defer cancel()
		if abort != nil {
			defer time.AfterFunc(finishGrace, abort).Stop()
		}
		if b.http.Shutdown(ctx) != nil {
			errs = append(errs, b.http.Close())
		}
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(errs...)
}

// serve serves until it is shut down; that it ended otherwise is told.
func serve(l net.Listener, h http.Handler, log *slog.Logger, failed chan<- error) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return srv
}
