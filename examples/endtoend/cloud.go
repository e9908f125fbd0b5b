// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/alibabacloud-go/tea/tea"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/settings"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

// cloudOptions are the settings of the local cloud alone.
type cloudOptions struct {
	addr, url                string
	redirectURIs, returnURLs []string
}

func parseCloud(args []string, out io.Writer) (cloudOptions, error) {
	var o cloudOptions
	flags := flag.NewFlagSet("endtoend cloud", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:9000", "`host:port` to listen on; a loopback one unless -url is given; port 0 takes a free one")
	flags.StringVar(&o.url, "url", "", "`URL` where others reach the cloud, such as http://localhost:9000 for one in a container")
	several := func(list *[]string) func(string) error {
		return func(s string) error {
			*list = append(*list, strings.Split(s, ",")...)
			return nil
		}
	}
	flags.Func("redirect-uri", "where sign-ins may return, `URL`s separated by commas (default http://localhost:8090)", several(&o.redirectURIs))
	flags.Func("return-url", "where consent may return, `URL`s separated by commas (default http://localhost:8090/callback)", several(&o.returnURLs))
	flags.Usage = func() {
		fmt.Fprintf(out, "Usage: endtoend cloud [flags]\n\nRuns the simulated local cloud alone, for your own agent to be tested with.\n\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return cloudOptions{}, err
	}
	if flags.NArg() > 0 {
		return cloudOptions{}, fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	if o.redirectURIs == nil {
		o.redirectURIs = []string{"http://localhost:8090"}
	}
	if o.returnURLs == nil {
		o.returnURLs = []string{"http://localhost:8090/callback"}
	}
	return o, nil
}

// runCloud runs the local cloud until ctx ends. It prints what another program
// needs to use it; the keys are made up at each start and open nothing else.
func runCloud(ctx context.Context, o cloudOptions, out, logOut io.Writer) error {
	cloud, err := identitytest.Start(identitytest.Config{
		Addr: o.addr, URL: o.url, LoginRedirectURIs: o.redirectURIs, ReturnURLs: o.returnURLs,
		Logger: slog.New(slog.NewTextHandler(logOut, nil)),
	})
	if err != nil {
		return err
	}
	furnish(cloud)
	cred, err := cloud.ClientConfig().Credential.GetCredential()
	if err != nil {
		return errors.Join(err, cloud.Close(ctx))
	}
	var sample settings.Settings
	useCloud(&sample, cloud)
	fmt.Fprintf(out, `Simulated local cloud, not Alibaba Cloud. For a program that is to use it:
export AGENT_IDENTITY_DATA_ENDPOINT=%[1]s
export AGENT_IDENTITY_ENDPOINT=%[1]s
export ALIBABA_CLOUD_ACCESS_KEY_ID=%[2]s
export ALIBABA_CLOUD_ACCESS_KEY_SECRET=%[3]s
export %[4]s=%[5]s
export LOCAL_CLOUD_CONTROL_TOKEN=%[6]s
`, cloud.URL(), tea.StringValue(cred.AccessKeyId), tea.StringValue(cred.AccessKeySecret), workload.EnvName, identitytest.Workload,
		cloud.ControlToken().Reveal())
	for _, variable := range sample.Environ() {
		fmt.Fprintln(out, "export "+variable)
	}
	fmt.Fprintf(out, `  sign-in       users alice and bob
  control       POST %[1]s/control/… with the token: advance, fault, script, revoke, calls (see identitytest.Server.ControlToken)
ready %[1]s
`, cloud.URL())
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	closing, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := cloud.Close(closing); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
