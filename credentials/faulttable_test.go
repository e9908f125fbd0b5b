// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

var update = flag.Bool("update", false, "write the table of faults into the package documentation")

// answer is what the service does with a call.
type answer func(url.Values) (status int, retryAfter, body string)

func always(status int, retryAfter, body string) answer {
	return func(url.Values) (int, string, string) { return status, retryAfter, body }
}

// Statuses that stand for no answer at all, see memoryService.
const (
	noAnswer = -1 // the connection breaks off
	hang     = -2 // nothing until the caller leaves
)

// faults are what can go wrong with a call, in the words of the documentation.
var faults = []struct {
	name   string
	answer answer
	only   string // operation, "" for all
}{
	{"throttled, wait 1 s", always(429, "1", `{"Code":"Throttling.User"}`), ""},
	{"throttled, wait 1 h", always(429, "3600", `{"Code":"Throttling.User"}`), ""},
	{"status 503", always(503, "", `{"Code":"ServiceUnavailable"}`), ""},
	{"access denied", always(403, "", `{"Code":"NoPermission"}`), ""},
	{"answer after 1 s", nil, ""},
	{"connection dropped", always(noAnswer, "", ""), ""},
	{"no answer", always(hang, "", ""), ""},
	{"JSON cut short", always(200, "", `{"RequestId":"bro`), ""},
	{"HTML page, 502", always(502, "", "<html>bad gateway</html>"), ""},
	{"HTML page, 200", always(200, "", "<html>sign in to the wireless network</html>"), ""},
	{"empty object", always(200, "", "{}"), ""},
	{"expired on arrival", always(200, "", `{"Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2000-01-01T00:00:00Z"}}`), "AssumeRoleForWorkloadIdentity"},
	{"grant revoked", always(200, "", `{"AuthorizationURL":"https://e/","SessionURI":"urn:2","SessionStatus":"IN_PROGRESS"}`), "GetResourceOAuth2Token"},
	{"session failed", always(200, "", `{"SessionURI":"urn:2","SessionStatus":"FAILED"}`), "GetResourceOAuth2Token"},
}

// operations are the calls that sources make, and how a value of each is had.
var operations = []struct {
	name  string
	short string
	late  time.Duration // after it, the value is in its last stretch; 0: it has none
	get   func(context.Context, *workload.Agent) error
}{
	{"GetWorkloadAccessTokenForUserId", "workload token", 4*time.Minute - 12*time.Second, func(ctx context.Context, a *workload.Agent) error {
		_, err := credentials.NewWorkloadTokenSource(a).Credential(ctx)
		return err
	}},
	{"AssumeRoleForWorkloadIdentity", "STS", time.Hour - 30*time.Second, func(ctx context.Context, a *workload.Agent) error {
		_, err := credentials.NewSTSSource(a, credentials.STSConfig{}).Credential(ctx)
		return err
	}},
	{"GetResourceAPIKey", "API key", 5*time.Minute - 15*time.Second, func(ctx context.Context, a *workload.Agent) error {
		_, err := credentials.NewAPIKeySource(a, credentials.APIKeyConfig{Provider: "p"}).Credential(ctx)
		return err
	}},
	{"GetResourceOAuth2Token", "OAuth2 token", 50 * time.Second, func(ctx context.Context, a *workload.Agent) error {
		_, err := credentials.NewOAuth2Source(a, credentials.OAuth2Config{Provider: "p"}).Credential(ctx)
		return err
	}},
	{"CompleteResourceTokenAuth", "confirmation", 0, func(ctx context.Context, a *workload.Agent) error {
		return a.Client().CompleteResourceTokenAuth(ctx, "urn:1", identity.UserIdentifier{UserID: "u"})
	}},
}

// outcomeOf names what a caller can branch on.
func outcomeOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	for name, target := range map[string]error{
		"ErrThrottled": identity.ErrThrottled, "ErrAccessDenied": identity.ErrAccessDenied,
		"ErrExpiredOnArrival": credentials.ErrExpiredOnArrival, "ErrAuthorizationDenied": credentials.ErrAuthorizationDenied,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if _, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
		return "AuthorizationRequiredError"
	}
	if e, ok := errors.AsType[*identity.APIError](err); ok && e.Code == identity.CodeMalformedResponse {
		return "CodeMalformedResponse"
	}
	if errors.Is(err, identity.ErrUnavailable) {
		return "ErrUnavailable"
	}
	t.Errorf("an error that is not documented: %v", err)
	return "?"
}

// cell plays one fault. within is what a caller may count on.
func cell(t *testing.T, i, op int, live bool) (outcome string) {
	t.Helper()
	o, f := operations[op], faults[i]
	if f.only != "" && f.only != o.name || live && o.late == 0 {
		return "–"
	}
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		service.answers["GetResourceOAuth2Token"] = always(200, "", `{"AccessToken":"a"}`)
		service.answers["CompleteResourceTokenAuth"] = always(200, "", `{"RequestId":"r"}`)
		agent := service.agent(t)
		defer agent.Close()
		within := 16 * time.Second
		if live {
			require.NoError(t, o.get(user(t.Context(), "u"), agent))
			time.Sleep(o.late)
			within = 2 * time.Second
		}
		service.mu.Lock()
		if f.answer != nil {
			service.answers[o.name] = f.answer
		} else {
			service.latency = time.Second
			within *= 3 // each layer's call takes longer
		}
		service.mu.Unlock()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(user(t.Context(), "u"), time.Minute)
		defer cancel()
		err := o.get(ctx, agent)
		outcome = outcomeOf(t, err)
		limit := within
		if o.name == "CompleteResourceTokenAuth" {
			limit = 16 * time.Second
		}
		require.LessOrEqual(t, time.Since(begun), limit, "%s, %s", o.short, f.name)
		if f.name == "connection dropped" || f.name == "no answer" {
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller had time left")
		}
	})
	return outcome
}

// TestFaultTable lets each call go wrong in each way, without and with a value
// that is about to end, and writes down what the caller gets: typed, and in
// time.
func TestFaultTable(t *testing.T) {
	table := func(live bool) string {
		var b strings.Builder
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprint(w, "//\tfault")
		for _, o := range operations {
			if !live || o.late > 0 {
				fmt.Fprint(w, "\t", o.short)
			}
		}
		fmt.Fprintln(w)
		for i, f := range faults {
			fmt.Fprint(w, "//\t", f.name)
			for op, o := range operations {
				if !live || o.late > 0 {
					fmt.Fprint(w, "\t", cell(t, i, op, live))
				}
			}
			fmt.Fprintln(w)
		}
		_ = w.Flush()
		var out strings.Builder
		for line := range strings.Lines(b.String()) {
			out.WriteString("//\t" + strings.TrimRight(strings.TrimLeft(strings.TrimPrefix(line, "//"), " "), " \n") + "\n")
		}
		return out.String()
	}
	const path = "faults.go"
	want := `// SPDX-License-Identifier: Apache-2.0

// # When a call goes wrong
//
// The tables are written by TestFaultTable, which lets each call of the service
// go wrong in each way. An error is found with errors.Is, an
// [AuthorizationRequiredError] and the Code of an [identity.APIError] with
// errors.As. No caller waits longer than 16 seconds, or its own ctx.
//
// Without a value that is kept:
//
` + table(false) + `//
// With a value in its last stretch, the caller gets that value, after two
// seconds at most, and the renewal is tried again until the value ends:
//
` + table(true) + `//
// A value that is not in its last stretch is served without a call. An OAuth2
// token has no last stretch, so that a revocation takes effect at its end.
package credentials
`
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err, "write it with: go test ./credentials -run TestFaultTable -update")
	require.Equal(t, want, string(got), "write it anew with: go test ./credentials -run TestFaultTable -update")
}
