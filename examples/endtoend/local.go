// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/backend"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/settings"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// simulatedModel is the local cloud's rule-based model.
const simulatedModel = "simulated"

// app is everything that runs on this machine.
type app struct {
	opts options
	log  *slog.Logger

	cloud      *identitytest.Server
	agent      *agentService
	backend    *backendService
	agentURL   string
	backendURL string
	failed     chan error // a server that ended by itself
	stopOnce   func() error
}

// run starts everything, prints what it started, and stops everything when ctx
// ends.
func run(ctx context.Context, opts options, out, logOut io.Writer) error {
	a, err := start(opts, newLog(logOut, opts.logLevel, opts.logFormat))
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

// newLog makes the log of a process. Lines about a request have its id, also the
// SDK's.
func newLog(out io.Writer, level slog.Level, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(out, opts)
	if format == "json" {
		h = slog.NewJSONHandler(out, opts)
	}
	return slog.New(web.LogHandler{Handler: h})
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
	s, err := a.settings(agentListener, backendListener)
	if err != nil {
		return a, err
	}
	a.agentURL, a.backendURL = "http://"+hostOf(agentListener), s.BaseURL

	a.cloud, err = identitytest.Start(identitytest.Config{
		Addr: opts.cloudAddr, LoginRedirectURIs: []string{s.RedirectURL}, ReturnURLs: []string{s.BaseURL + callbackPath}, Users: opts.users, Logger: log,
	})
	if err != nil {
		return a, err
	}
	furnish(a.cloud)
	useCloud(&s, a.cloud)
	if s.Model, s.ModelKey, err = a.model(); err != nil {
		return a, err
	}
	if opts.model != simulatedModel {
		s.ModelBaseURL = strings.TrimSpace(os.Getenv("DASHSCOPE_HTTP_BASE_URL"))
	}
	clientConfig := a.cloud.ClientConfig() // static and local: no real credential is looked at
	clientConfig.Logger = log
	client, err := newClient(clientConfig)
	if err != nil {
		return a, err
	}
	simulated := []string{"cloud"}
	if opts.model == simulatedModel {
		simulated = append(simulated, "model")
	}
	if strings.Contains(opts.store, "://") && s.StoreKey.IsZero() {
		if s.StoreKey, err = ownKey(log); err != nil {
			return a, err
		}
	}
	agentSettings, backendSettings := s, s
	agentSettings.Store = storeOr(opts.store, "agent", opts.agentAddr, agentListener)
	backendSettings.Store = storeOr(besideOf(opts.store), "backend", opts.backendAddr, backendListener)
	if a.agent, err = newAgentService(agentSettings, client, identitytest.Workload, log); err != nil {
		return a, err
	}
	a.agent.serve(agentListener, a.failed)
	if a.backend, err = newBackendService(backendSettings, client, simulated, log); err != nil {
		return a, err
	}
	a.backend.serve(backendListener, a.failed)
	return a, nil
}

// settings are those of a run on this machine: its own addresses, and of the
// rest what the environment and config.yml say, the real cloud's things aside.
func (a *app) settings(agentListener, backendListener net.Listener) (settings.Settings, error) {
	s, unknown, err := settings.Load(os.Getenv, configFiles...)
	if err != nil {
		return s, err
	}
	warnUnknown(a.log, unknown)
	s.AgentURL = "http://" + hostOf(agentListener) + "/process"
	if backend.Framework(s.Framework) == backend.AgentRun {
		s.AgentURL = "http://" + hostOf(agentListener) + "/openai/v1/chat/completions"
	}
	s.ConsentTimeout, s.Frontend = a.opts.consentTimeout, a.opts.frontend
	if s.BaseURL, err = addressOr("APP_REDIRECT_URI", "http://"+hostOf(backendListener)); err != nil {
		return s, err
	}
	s.RedirectURL, err = addressOr("INBOUND_REDIRECT_URI", s.BaseURL)
	s.AgentToken = identity.Secret{}
	return s, err
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

// useCloud points settings to the local cloud and what furnish put there.
func useCloud(s *settings.Settings, cloud *identitytest.Server) {
	s.Issuer, s.ClientID = cloud.Issuer(), identitytest.LoginClientID
	s.ServiceURL = cloud.URL()
	s.APIKeyProvider, s.OAuth2Provider, s.OAuth2Scopes = identitytest.APIKeyProvider, identitytest.OAuth2Provider, []string{identitytest.TimeScope}
	s.MCPServer, s.MCPProvider, s.MCPScopes = cloud.MCPURL(), identitytest.MCPProvider, []string{identitytest.MCPScope}
	s.Bucket, s.BucketRegion, s.BucketFile, s.OSSEndpoint = demoBucket, demoRegion, demoFile, cloud.OSSEndpoint()
	s.DingTalkProvider, s.DingTalkEndpoint, s.Document = identitytest.DingTalkProvider, cloud.DingTalkEndpoint(), demoDocument
	s.Model, s.ModelKey, s.ModelBaseURL = simulatedModel, cloud.ModelKey(), cloud.ModelURL()
}

// model is the model that was asked for, with its key.
func (a *app) model() (name string, key identity.Secret, err error) {
	if a.opts.model == simulatedModel {
		return simulatedModel, a.cloud.ModelKey(), nil
	}
	text := strings.TrimSpace(os.Getenv("DASHSCOPE_API_KEY"))
	if text == "" {
		return "", key, fmt.Errorf("-model %s needs an API key of DashScope in the environment variable DASHSCOPE_API_KEY; without -model the simulated model answers", a.opts.model)
	}
	return a.opts.model, identity.NewSecret(text), nil
}

// storeOr is the address of a service's store: the one given, or a file named
// after the service's port, so that two of one machine do not share it.
func storeOr(given, service, addr string, l net.Listener) string {
	_, wanted, _ := net.SplitHostPort(addr)
	folder, err := os.UserCacheDir()
	switch {
	case given != "":
		return given
	case err != nil || wanted == "0":
		return "memory:"
	}
	return filepath.Join(folder, "agent-identity-endtoend", fmt.Sprintf("%s-%d.db", service, l.Addr().(*net.TCPAddr).Port))
}

// ownKey is the key with which this user's runs seal what they keep in a Redis,
// where none is configured.
func ownKey(log *slog.Logger) (identity.Secret, error) {
	folder, err := os.UserCacheDir()
	if err != nil {
		return identity.Secret{}, fmt.Errorf("STORE_KEY is not set, and there is no folder to make a key in: %w", err)
	}
	path := filepath.Join(folder, "agent-identity-endtoend", "redis.key")
	key, err := store.KeyFile(path)
	if err != nil {
		return identity.Secret{}, err
	}
	log.Info("STORE_KEY is not set; what is kept in Redis is sealed with a key of this machine", "file", path)
	return identity.NewSecret(base64.StdEncoding.EncodeToString(key)), nil
}

// besideOf is where the backend keeps what it has, given where the agent does:
// in the same Redis, or in a file beside the agent's.
func besideOf(store string) string {
	if store == "" || store == "memory:" || strings.Contains(store, "://") {
		return store
	}
	return store + ".backend"
}

// stop ends the backend, the agent and the cloud within five seconds. Answers
// that are being written get some time to end; then they are closed as failed,
// and say why.
func (a *app) stop() error { return a.stopOnce() }

func (a *app) stopServers() error {
	var errs []error
	if a.backend != nil {
		// From the front: no new request comes in, open ones go on.
		var abort func()
		if a.agent != nil {
			abort = a.agent.server.Abort
		}
		errs = append(errs, a.backend.stop(abort))
	}
	if a.agent != nil {
		errs = append(errs, a.agent.stop(0))
	}
	if a.cloud != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
		defer cancel()
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
