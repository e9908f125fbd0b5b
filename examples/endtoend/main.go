// SPDX-License-Identifier: Apache-2.0

// Command endtoend is the full sample: a user signs in, chats with an agent,
// and the agent's tools act with that user's credentials.
//
// Without an account it runs everything on this machine: the simulated local
// cloud, the agent service, the backend and the web page.
//
//	go run ./examples/endtoend
//
// The local cloud alone, for an agent of your own:
//
//	go run ./examples/endtoend cloud -addr 127.0.0.1:9000
//
// The agent and the backend alone, as many of each as wanted:
//
//	go run ./examples/endtoend agent
//	go run ./examples/endtoend backend
//
// Flags change addresses, the log and the model; see -help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

func main() {
	// A second Ctrl-C ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "endtoend:", err)
		os.Exit(1)
	}
}

// command runs the command that args name.
func command(ctx context.Context, args []string, out, logOut io.Writer) error {
	if len(args) > 0 && (args[0] == "agent" || args[0] == "backend") {
		return runService(ctx, args[0], args[1:], out, logOut)
	}
	if len(args) > 0 && args[0] == "cloud" {
		opts, err := parseCloud(args[1:], logOut)
		if err != nil {
			return err
		}
		return runCloud(ctx, opts, out, logOut)
	}
	opts, err := parse(args, logOut)
	if err != nil {
		return err
	}
	return run(ctx, opts, out, logOut)
}

// options are the settings of a run.
type options struct {
	agentAddr, backendAddr, cloudAddr string
	logLevel                          slog.Level
	logFormat                         string
	model, store, frontend            string
	consentTimeout                    time.Duration
	users                             []identitytest.User // nil: alice and bob
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("endtoend", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.agentAddr, "agent-addr", "localhost:8080", "agent service, `host:port`; port 0 takes a free one")
	flags.StringVar(&o.backendAddr, "backend-addr", "localhost:8090", "backend and web page, `host:port`; redirect and callback addresses follow its port")
	flags.StringVar(&o.cloudAddr, "cloud-addr", "127.0.0.1:0", "simulated local cloud, loopback `host:port`")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest `level` logged: debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&o.frontend, "frontend", "", "`folder` of another page's built files, such as the original sample's")
	flags.StringVar(&o.model, "model", simulatedModel, "`name` of the model: \""+simulatedModel+"\", or one of DashScope such as qwen3-max, which needs DASHSCOPE_API_KEY")
	flags.StringVar(&o.store, "store", "", "where agent and backend keep what they have: `path` of a file (the backend's is beside it), redis://host:port/0 with a key in STORE_KEY, or memory: (default files in the user's cache folder, named after the ports; in memory where a port is 0)")
	flags.DurationVar(&o.consentTimeout, "consent-timeout", 3*time.Minute, "how long a tool waits for the user's consent")
	flags.Usage = func() {
		fmt.Fprintf(out, "Usage: endtoend [flags]\n       endtoend cloud [flags]\n       endtoend agent [flags]\n       endtoend backend [flags]\n\nRuns the local cloud, the agent, the backend and the web page on this machine; or one of them alone.\n\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		return options{}, errors.New("-log-format: want text or json")
	}
	if o.consentTimeout <= 0 {
		return options{}, errors.New("-consent-timeout: want a positive duration such as 3m")
	}
	return o, nil
}
