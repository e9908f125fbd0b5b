// SPDX-License-Identifier: Apache-2.0

// Command ststoken gets STS credentials of the agent's role, on behalf of a user,
// and reads a file from OSS with them. The tool function receives the
// credentials as a parameter of its own; a model that calls it never sees them.
//
//	go run ./examples/ststoken                                     # offline, against the simulated local cloud
//	go run ./examples/ststoken -real -bucket B -region R -key FILE # with the credentials of your environment
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
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ststoken:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("ststoken", flag.ContinueOnError)
	real := flags.Bool("real", false, "use Alibaba Cloud instead of the simulated local cloud")
	user := flags.String("user", "alice", "the application's id of the user")
	bucket := flags.String("bucket", "demo", "bucket")
	region := flags.String("region", "cn-hangzhou", "the bucket's region")
	key := flags.String("key", "hello.txt", "the object's name")
	if err := flags.Parse(args); err != nil {
		return err
	}

	client, files := identity.ConfigFromEnv(), oss.Config{Bucket: *bucket, Region: *region}
	name := "" // from the environment
	if !*real {
		cloud, err := identitytest.Start(identitytest.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = cloud.Close(context.WithoutCancel(ctx)) }()
		cloud.AddBucket("demo", "cn-hangzhou")
		cloud.PutObject("demo", "hello.txt", []byte("Hello from the simulated OSS."))
		client, name = cloud.ClientConfig(), identitytest.Workload
		files.Endpoint = func(string) string { return cloud.OSSEndpoint() }
		fmt.Fprintln(out, "Simulated local cloud, nothing real. With your account: -real")
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

	sts := credentials.NewSTSSource(agent, credentials.STSConfig{})
	read := tools.New("get_oss_object", "Reads a file from OSS.", credentials.RequiresSTS(sts, oss.New(files).Read))
	fmt.Fprintf(out, "what the model sees of the tool: %s\n", read.Schema())

	ctx = identity.NewContext(ctx, identity.Caller{UserID: *user})
	result, err := read.Call(ctx, fmt.Sprintf(`{"key":%q}`, *key))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, result)
	return nil
}
