// SPDX-License-Identifier: Apache-2.0

// Command workloadtoken sends a workload access token to an MCP server behind an
// AI gateway, which decides by agent and user what may be called.
//
//	go run ./examples/workloadtoken                # offline, against the simulated local cloud
//	go run ./examples/workloadtoken -real -url URL # with the credentials of your environment
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "workloadtoken:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("workloadtoken", flag.ContinueOnError)
	real := flags.Bool("real", false, "use Alibaba Cloud instead of the simulated local cloud")
	gateway := flags.String("url", os.Getenv("AI_GATEWAY_MCP_SERVER"), "the gateway's MCP server, streamable HTTP")
	tool := flags.String("tool", "whoami", "the tool to call")
	if err := flags.Parse(args); err != nil {
		return err
	}

	client, name := identity.ConfigFromEnv(), ""
	if !*real {
		cloud, err := identitytest.Start(identitytest.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = cloud.Close(context.WithoutCancel(ctx)) }()
		client, name, *gateway = cloud.ClientConfig(), identitytest.Workload, cloud.GatewayURL()
		fmt.Fprintln(out, "Simulated local cloud and gateway, nothing real. With your account: -real")
	}
	api, err := identity.New(client)
	if err != nil {
		return err
	}
	agent, err := workload.New(workload.Config{Client: api, Name: name})
	if err != nil {
		return err
	}
	defer agent.Close()
	u, err := url.Parse(*gateway)
	if err != nil || u.Host == "" {
		return fmt.Errorf("-url %q: want the address of the gateway's MCP server", *gateway)
	}
	server, err := mcp.New(mcp.Config{
		Name: "gateway", URL: *gateway,
		Transport: &credentials.Transport[credentials.WorkloadToken]{Source: credentials.NewWorkloadTokenSource(agent), Hosts: []string{u.Host}},
	})
	if err != nil {
		return err
	}
	defer server.Close()

	// One client for all users; each request carries its own user's token.
	for _, user := range []string{"alice", "bob"} {
		ctx := identity.NewContext(ctx, identity.Caller{UserID: user})
		set, err := mcp.Combine(ctx, nil, server)
		if err != nil {
			return err
		}
		text, err := set.Call(ctx, *tool, "{}")
		if err != nil {
			text = "refused: " + err.Error()
		}
		fmt.Fprintf(out, "%s: %s\n", user, text)
	}
	return nil
}
