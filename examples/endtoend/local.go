// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/agent"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/backend"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/frontend"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/tools/dingtalk"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

// simulatedModel is the local cloud's rule-based model.
const simulatedModel = "simulated"

// How long the parts of a stop may take; together less than five seconds.
const (
	finishGrace = 2 * time.Second // for answers to end by themselves
	abortGrace  = 2 * time.Second // for answers to be closed as failed
)

// app is everything that runs on this machine.
type app struct {
	opts options
	log  *slog.Logger

	cloud       *identitytest.Server
	agent       *agent.Server
	mcp         *mcp.Client
	memory      store.Closer // the agent's conversations
	agentHTTP   *http.Server
	backendHTTP *http.Server
	agentURL    string
	backendURL  string
	failed      chan error // a server that ended by itself
	stopOnce    func() error
}

// run starts everything, prints what it started, and stops everything when ctx
// ends.
func run(ctx context.Context, opts options, out, logOut io.Writer) error {
	a, err := start(opts, slog.New(slog.NewTextHandler(logOut, &slog.HandlerOptions{Level: opts.logLevel})))
	if err != nil {
		return err
	}
	a.announce(out)
	select {
	case err = <-a.failed:
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping")
	}
	return errors.Join(err, a.stop())
}

// start starts the local cloud, the agent and the backend, in this order. What
// it started it stops again if something fails.
func start(opts options, log *slog.Logger) (a *app, err error) {
	a = &app{opts: opts, log: log, failed: make(chan error, 2)}
	a.stopOnce = sync.OnceValue(a.stopServers)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop())
		}
	}()
	// Listening comes first: the addresses follow the ports.
	agentListener, err := listen(opts.agentAddr, "-agent-addr")
	if err != nil {
		return a, err
	}
	defer closeUnless(&err, agentListener)
	backendListener, err := listen(opts.backendAddr, "-backend-addr")
	if err != nil {
		return a, err
	}
	defer closeUnless(&err, backendListener)
	a.agentURL = "http://" + hostOf(agentListener)
	if a.memory, err = openMemory(opts, agentListener); err != nil {
		return a, err
	}
	if a.backendURL, err = addressOr("APP_REDIRECT_URI", "http://"+hostOf(backendListener)); err != nil {
		return a, err
	}
	loginURL, err := addressOr("INBOUND_REDIRECT_URI", a.backendURL)
	if err != nil {
		return a, err
	}
	callbackURL := a.backendURL + "/callback"

	a.cloud, err = identitytest.Start(identitytest.Config{
		Addr: opts.cloudAddr, LoginRedirectURIs: []string{loginURL}, ReturnURLs: []string{callbackURL}, Users: opts.users, Logger: log,
	})
	if err != nil {
		return a, err
	}
	furnish(a.cloud)
	clientConfig := a.cloud.ClientConfig() // static and local: no real credential is looked at
	clientConfig.Logger = log
	client, err := identity.New(clientConfig)
	if err != nil {
		return a, err
	}
	verifier, err := idtoken.New(a.cloud.Issuer(), identitytest.LoginClientID)
	if err != nil {
		return a, err
	}
	if err = a.serveAgent(agentListener, client, verifier, callbackURL); err != nil {
		return a, err
	}
	return a, a.serveBackend(backendListener, client, verifier, loginURL)
}

// What the users of the local cloud have at the start.
const (
	demoBucket   = "demo-files"
	demoRegion   = "cn-hangzhou"
	demoFile     = "report.txt"
	demoDocument = "demo-document"
)

// furnish puts things into the local cloud that can be asked for.
func furnish(cloud *identitytest.Server) {
	cloud.AddBucket(demoBucket, demoRegion, "alice", "bob")
	cloud.PutObject(demoBucket, demoFile, []byte("Quarterly report (simulated): sales are up 7 percent, costs are flat.\n季度报告（模拟）：销售额增长 7%，成本持平。"))
	cloud.PutObject(demoBucket, "notes/todo.txt", []byte("1. Try the consent flow. 2. Read the README."))
	cloud.AddDocument(demoDocument, "# Demo document\nWrite something into it.", "alice", "bob")
}

func (a *app) serveAgent(l net.Listener, client *identity.Client, verifier *idtoken.Verifier, callbackURL string) error {
	self, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	if err != nil {
		return err
	}
	set, err := agent.NewTools(agent.ToolConfig{
		Agent: self, ServiceURL: a.cloud.URL(), CallbackURL: callbackURL, ConsentTimeout: a.opts.consentTimeout,
		APIKeyProvider: identitytest.APIKeyProvider, OAuth2Provider: identitytest.OAuth2Provider,
		OAuth2Scopes: []string{identitytest.TimeScope},
		OSS: oss.Config{
			Bucket: demoBucket, Region: demoRegion, Endpoint: func(string) string { return a.cloud.OSSEndpoint() },
		},
		File:     demoFile,
		DingTalk: dingtalk.Config{Endpoint: a.cloud.DingTalkEndpoint(), Document: demoDocument}, DingTalkProvider: identitytest.DingTalkProvider,
		DingTalkScopes: []string{"openid"},
	})
	if err != nil {
		return err
	}
	a.mcp, err = agent.NewMCP(agent.MCPConfig{
		Agent: self, URL: a.cloud.MCPURL(), Provider: identitytest.MCPProvider, Scopes: []string{identitytest.MCPScope},
		CallbackURL: callbackURL, ConsentTimeout: a.opts.consentTimeout, Log: a.log.With("service", "agent"),
	})
	if err != nil {
		return err
	}
	model, err := a.newModel()
	if err != nil {
		return err
	}
	a.agent = agent.New(agent.Config{
		Model: model, Tools: set, Servers: []*mcp.Client{a.mcp}, Verifier: verifier, Store: a.memory, Log: a.log.With("service", "agent"),
	})
	a.agentHTTP = a.serve(l, a.agent)
	return nil
}

// openMemory opens the store of the agent's conversations. The default file is
// named after the agent's port: two agents of one machine do not share it.
func openMemory(opts options, agent net.Listener) (store.Closer, error) {
	address := opts.store
	if address == "" {
		address = "memory:"
		_, wanted, _ := net.SplitHostPort(opts.agentAddr)
		if folder, err := os.UserCacheDir(); err == nil && wanted != "0" {
			port := agent.Addr().(*net.TCPAddr).Port
			address = filepath.Join(folder, "agent-identity-endtoend", fmt.Sprintf("agent-%d.db", port))
		}
	}
	memory, err := store.Open(address, "agent-identity-endtoend/agent/", nil)
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	return memory, nil
}

func (a *app) newModel() (llm.Model, error) {
	if a.opts.model == simulatedModel {
		return llm.New(llm.Config{Model: simulatedModel, BaseURL: a.cloud.ModelURL(), APIKey: llm.StaticKey(a.cloud.ModelKey())})
	}
	key := strings.TrimSpace(os.Getenv("DASHSCOPE_API_KEY"))
	if key == "" {
		return nil, fmt.Errorf("-model %s needs an API key of DashScope in the environment variable DASHSCOPE_API_KEY; without -model the simulated model answers", a.opts.model)
	}
	return llm.New(llm.Config{
		Model: a.opts.model, BaseURL: strings.TrimSpace(os.Getenv("DASHSCOPE_HTTP_BASE_URL")),
		APIKey: llm.StaticKey(identity.NewSecret(key)),
	})
}

func (a *app) serveBackend(l net.Listener, client *identity.Client, verifier *idtoken.Verifier, loginURL string) error {
	simulated := []string{"cloud"}
	if a.opts.model == simulatedModel {
		simulated = append(simulated, "model")
	}
	srv, err := backend.New(backend.Config{
		BaseURL: a.backendURL, RedirectURL: loginURL, ClientID: identitytest.LoginClientID, Verifier: verifier,
		AgentURL: a.agentURL + "/process", Identity: client, Frontend: frontend.Files(), Simulated: simulated,
		Logins: store.NewMemory(10_000), Sessions: store.NewMemory(10_000), Log: a.log.With("service", "backend"),
	})
	if err != nil {
		return err
	}
	a.backendHTTP = a.serve(l, srv)
	return nil
}

func (a *app) serve(l net.Listener, h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.failed <- err
		}
	}()
	return srv
}

// stop ends the backend, the agent and the cloud within five seconds. Answers
// that are being written get some time to end; then they are closed as failed,
// and say why.
func (a *app) stop() error { return a.stopOnce() }

func (a *app) stopServers() error {
	var errs []error
	ended := make(chan error, 1)
	if a.backendHTTP != nil {
		// From the front: no new request comes in, open ones go on.
		ctx, cancel := context.WithTimeout(context.Background(), finishGrace+abortGrace)
		defer cancel()
		go func() { ended <- a.backendHTTP.Shutdown(ctx) }()
		grace := time.NewTimer(finishGrace)
		defer grace.Stop()
		var err error
		select {
		case err = <-ended:
		case <-grace.C:
			a.agent.Abort()
			err = <-ended
		}
		if err != nil {
			errs = append(errs, a.backendHTTP.Close())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if a.agentHTTP != nil {
		a.agent.Abort()
		if a.agentHTTP.Shutdown(ctx) != nil {
			errs = append(errs, a.agentHTTP.Close())
		}
	}
	if a.mcp != nil {
		a.mcp.Close()
	}
	if a.memory != nil {
		errs = append(errs, a.memory.Close())
	}
	if a.cloud != nil {
		if err := a.cloud.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (a *app) announce(out io.Writer) {
	model := a.opts.model + " (DashScope)"
	if a.opts.model == simulatedModel {
		model = "simulated, rule-based"
	}
	fmt.Fprintf(out, `Everything below runs on this machine. The cloud is a simulation: no account, no cost, nothing real.
  local cloud  %s  (simulated Agent Identity, sign-in, example resources)
  agent        %s/process
  backend      %s
  model        %s
  users        alice, bob
ready %s
`, a.cloud.URL(), a.agentURL, a.backendURL, model, a.backendURL)
}

// listen takes host:port; without a host, this machine alone.
func listen(addr, name string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s %q: want host:port, such as localhost:8090", name, addr)
	}
	if host == "" {
		host = "localhost"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; choose another port with %s localhost:PORT", name, err, name)
	}
	return l, nil
}

func closeUnless(err *error, l net.Listener) {
	if *err != nil {
		_ = l.Close()
	}
}

// hostOf is how browsers reach a listener. For this machine that is localhost,
// another site than the local cloud's 127.0.0.1: cookies are not shared.
func hostOf(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); err == nil && ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// addressOr reads an address from the environment.
func addressOr(name, otherwise string) (string, error) {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "" {
		return otherwise, nil
	}
	if u, err := url.Parse(value); err != nil || u.Host == "" {
		return "", fmt.Errorf("environment variable %s: %q is not an address such as %s", name, value, otherwise)
	}
	return strings.TrimRight(value, "/"), nil
}
