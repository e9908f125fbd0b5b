// SPDX-License-Identifier: Apache-2.0

// Command mcpserver serves tools over MCP, each call with the credentials of the
// user who calls. A tool that needs the user's consent asks for it by URL
// elicitation, or says which link to open.
//
//	go run ./examples/mcpserver          # streamable HTTP on localhost:8070, against the simulated local cloud
//	go run ./examples/mcpserver -stdio   # over stdin and stdout, for one user
//
// It runs against the local cloud alone: what its tools call is simulated.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mcpserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	flags := flag.NewFlagSet("mcpserver", flag.ContinueOnError)
	flags.SetOutput(log)
	addr := flags.String("addr", "localhost:8070", "`host:port` to listen on; port 0 takes a free one")
	stdio := flags.Bool("stdio", false, "serve one user over stdin and stdout")
	user := flags.String("user", "alice", "the user of -stdio")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	// localhost is another site than the local cloud's 127.0.0.1: cookies are
	// not shared.
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	base := "http://localhost:" + port

	cloud, err := identitytest.Start(identitytest.Config{ReturnURLs: []string{base + "/callback"}, LoginRedirectURIs: []string{base + "/signed-in"}})
	if err != nil {
		return err
	}
	defer func() { _ = cloud.Close(context.WithoutCancel(ctx)) }()
	client, err := identity.New(cloud.ClientConfig())
	if err != nil {
		return err
	}
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	if err != nil {
		return err
	}
	defer agent.Close()
	verifier, err := idtoken.New(cloud.Issuer(), identitytest.LoginClientID)
	if err != nil {
		return err
	}
	set, err := newTools(agent, cloud, base+"/callback")
	if err != nil {
		return err
	}

	consents, err := newConsents(base, client, verifier, identitytest.LoginClientID)
	if err != nil {
		return err
	}
	server, err := mcp.NewServer(mcp.ServerConfig{
		Name: "agent-identity-go example", Tools: set, Resource: base + "/mcp", AuthorizationServers: []string{cloud.Issuer()},
		ConsentURL: consents.link,
		Authenticate: func(ctx context.Context, token identity.Secret) (identity.Caller, error) {
			_, err := verifier.Verify(ctx, token.Reveal())
			return identity.Caller{UserToken: token}, err
		},
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", server)
	consents.routes(mux)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	defer func() { _ = srv.Close() }()

	fmt.Fprintln(log, "Simulated local cloud, nothing real.")
	if *stdio {
		return server.ServeStdio(identity.NewContext(ctx, identity.Caller{UserToken: cloud.IDToken(*user)}), in, out)
	}
	fmt.Fprintf(out, "ready %s/mcp\nbearer token of alice, for an hour: %s\n", base, cloud.IDToken("alice").Reveal())
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}

func newTools(agent *workload.Agent, cloud *identitytest.Server, callbackURL string) (*tools.Set, error) {
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	clock := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: callbackURL,
	})
	type city struct {
		City string `json:"city" jsonschema:"the city, for example Hangzhou"`
	}
	return tools.NewSet(
		tools.New("weather", "Today's weather of a city.", credentials.RequiresAPIKey(key, func(ctx context.Context, k credentials.APIKey, in city) (string, error) {
			return get(ctx, cloud.URL()+"/demo/weather?city="+url.QueryEscape(in.City), "X-Api-Key", k.Key.Reveal())
		})),
		tools.New("time", "The current time, with the user's consent.", credentials.RequiresOAuth2(clock, func(ctx context.Context, t credentials.OAuth2Token, _ struct{}) (string, error) {
			return get(ctx, cloud.URL()+"/demo/time", "Authorization", "Bearer "+t.AccessToken.Reveal())
		})),
	)
}

func get(ctx context.Context, address, header, value string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set(header, value)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode == http.StatusUnauthorized:
		return "", credentials.ErrRejected
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the service answered %s", resp.Status)
	}
	return string(body), nil
}
