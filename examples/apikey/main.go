// SPDX-License-Identifier: Apache-2.0

// Command apikey fetches an API key for a user and calls a service with it: the
// key of the model itself lives in Agent Identity, and no process has it in its
// environment.
//
//	go run ./examples/apikey                       # offline, against the simulated local cloud
//	go run ./examples/apikey -real -provider NAME  # with the credentials of your environment
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apikey:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("apikey", flag.ContinueOnError)
	real := flags.Bool("real", false, "use Alibaba Cloud instead of the simulated local cloud")
	provider := flags.String("provider", "test-for-api-key-sample", "API key credential provider")
	user := flags.String("user", "alice", "the application's id of the user")
	question := flags.String("question", "Hello, who are you?", "what to ask the model")
	if err := flags.Parse(args); err != nil {
		return err
	}

	client, model := identity.ConfigFromEnv(), llm.Config{Model: "qwen-turbo"}
	name := "" // from the environment
	if !*real {
		cloud, err := identitytest.Start(identitytest.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = cloud.Close(context.WithoutCancel(ctx)) }()
		cloud.AddAPIKeyProvider(*provider, cloud.ModelKey())
		client, name, model.BaseURL = cloud.ClientConfig(), identitytest.Workload, cloud.ModelURL()
		fmt.Fprintln(out, "Simulated local cloud and model, nothing real. With your account: -real")
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

	// The key is fetched for each request's user, and kept for five minutes.
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: *provider})
	model.APIKey = func(ctx context.Context) (identity.Secret, error) {
		k, err := key.Credential(ctx)
		return k.Key, err
	}
	chat, err := llm.New(model)
	if err != nil {
		return err
	}
	ctx = identity.NewContext(ctx, identity.Caller{UserID: *user})
	answer, err := llm.Collect(chat.Stream(ctx, &llm.Request{Messages: []llm.Message{{Role: llm.RoleUser, Content: *question}}}))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, answer.Message.Content)
	return nil
}
