// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/settings"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// configFiles are read in the working folder, as far as they are there; app.yml
// is what the original's backend has.
var configFiles = []string{"config.yml", "app.yml"}

func warnUnknown(log *slog.Logger, keys []string) {
	for _, key := range keys {
		log.Warn("the settings' file has a key that means nothing", "key", key)
	}
}

// runService runs the agent or the backend alone, configured from the
// environment and config.yml.
func runService(ctx context.Context, name string, args []string, out, logOut io.Writer) error {
	defaultAddr := map[string]string{"agent": "localhost:8080", "backend": "localhost:8090"}[name]
	flags := flag.NewFlagSet("endtoend "+name, flag.ContinueOnError)
	flags.SetOutput(logOut)
	addr := flags.String("addr", defaultAddr, "`host:port` to listen on; port 0 takes a free one")
	local := flags.Bool("local", false, "allow simulated services: an identity provider on this machine")
	flags.Usage = func() {
		fmt.Fprintf(logOut, "Usage: endtoend %s [flags]\n\nRuns the %s alone. Settings come from the environment, else from %s in this folder.\n\nFlags:\n", name, name, strings.Join(configFiles, " or "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	s, unknown, err := settings.Load(os.Getenv, configFiles...)
	if err != nil {
		return err
	}
	log := newLog(logOut, s.LogLevel, s.LogFormat)
	warnUnknown(log, unknown)
	need := []string{"INBOUND_APP_ID"}
	if name == "agent" {
		need = append(need, "DASHSCOPE_API_KEY")
	}
	if err := s.Missing(need...); err != nil {
		return err
	}
	issuer, err := url.Parse(s.Issuer)
	if err != nil || issuer.Host == "" {
		return fmt.Errorf("INBOUND_ISSUER %q: want an address such as https://oauth.aliyun.com", s.Issuer)
	}
	if loopback.Is(issuer.Hostname()) && !*local {
		return errors.New("INBOUND_ISSUER is on this machine: whoever can run a program here could sign in as anybody. For the simulated local cloud say so with -local")
	}
	cfg := identity.ConfigFromEnv()
	cfg.Logger = log
	client, err := newClient(cfg)
	if err != nil {
		return err
	}
	l, err := listen(*addr, "-addr")
	if err != nil {
		return err
	}
	if s.Store == "" {
		s.Store = storeOr("", name, *addr, l)
	}
	failed := make(chan error, 1)
	stop, err := beginService(name, s, client, l, *local, log, failed)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintf(out, "ready http://%s\n", hostOf(l))
	select {
	case err = <-failed:
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping")
	}
	return errors.Join(err, stop())
}

func beginService(name string, s settings.Settings, client *identity.Client, l net.Listener, local bool, log *slog.Logger, failed chan error) (stop func() error, err error) {
	if name == "agent" {
		a, err := newAgentService(s, client, "", log)
		if err != nil {
			return nil, err
		}
		a.serve(l, failed)
		return func() error { return a.stop(finishGrace) }, nil
	}
	var simulated []string
	if local {
		simulated = append(simulated, "cloud")
		if strings.EqualFold(s.Model, simulatedModel) {
			simulated = append(simulated, "model")
		}
	}
	b, err := newBackendService(s, client, simulated, log)
	if err != nil {
		return nil, err
	}
	b.serve(l, failed)
	return func() error { return b.stop(nil) }, nil
}
