// SPDX-License-Identifier: Apache-2.0

// Command bench measures the SDK against other ways to make the same call, on
// this machine, and prints a table with ratios:
//
//	cd internal/bench && go run .
//
// What the rows mean:
//
//   - An uncached call is one signed GetResourceAPIKey to a service on loopback
//     that answers at once. Bare net/http sends the same form unsigned, which
//     nobody can beat; the generic official client is darabonba-openapi v2.
//   - A cache hit returns a credential that is kept, for that many users in
//     turn, on one goroutine or on all cores.
//   - The decorated call is a tool function behind RequiresAPIKey with
//     everything kept; the bare one is the function alone.
//   - 50 callers are goroutines of one user whose service takes 20 ms for each
//     answer. Cold, nothing is kept: the three calls below one another are made
//     once for all 50. Warm, no call is made.
//
// Only the ratios compare across machines; all rows of one table come from one
// run. Each row is measured five times, in turn with all others. Its time is the
// fastest, because what else the machine does can only slow things down; its
// ratio is the median of the five rounds' ratios, so that both sides of each
// had the same machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/aliyun/credentials-go/credentials"
)

// row is a benchmark, compared with the row named base.
type row struct {
	name, base string
	run        func(*testing.B)
}

var rows = []row{
	{"uncached call, bare net/http", "", bareHTTP},
	{"uncached call, identity.Client", "uncached call, bare net/http", ours},
	{"uncached call, generic official client", "uncached call, identity.Client", generic},
	{"cache hit, 1 user", "", hits(1, false)},
	{"cache hit, 1,000 users", "cache hit, 1 user", hits(1000, false)},
	{"cache hit, 100,000 users", "cache hit, 1,000 users", hits(100_000, false)},
	{"cache hit, 1 user, all cores", "cache hit, 1 user", hits(1, true)},
	{"cache hit, 1,000 users, all cores", "cache hit, 1,000 users", hits(1000, true)},
	{"cache hit, 100,000 users, all cores", "cache hit, 100,000 users", hits(100_000, true)},
	{"bare call", "", bareCall},
	{"decorated call, all kept", "", decoratedCall},
	{"50 callers, 20 ms latency, cold (all 50)", "", callers(false)},
	{"50 callers, 20 ms latency, warm (each)", "", callers(true)},
}

const rounds = 5

func main() {
	testing.Init()
	flag.Parse()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ns/op\tallocs/op\tratio\t  what\t")
	taken, allocs := map[string][]float64{}, map[string]int64{}
	for round := range rounds {
		for _, r := range rows {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-50s", round+1, rounds, r.name)
			result := testing.Benchmark(r.run)
			taken[r.name] = append(taken[r.name], float64(result.T.Nanoseconds())/float64(result.N))
			allocs[r.name] = result.AllocsPerOp()
		}
	}
	fmt.Fprintf(os.Stderr, "\r%80s\r", "")
	for _, r := range rows {
		ratio := ""
		if r.base != "" {
			ratio = fmt.Sprintf("%.2f", median(taken[r.name], taken[r.base]))
		}
		fmt.Fprintf(w, "%.0f\t%d\t%s\t  %s\t\n", slices.Min(taken[r.name]), allocs[r.name], ratio, r.name)
	}
	_ = w.Flush()
}

// median is the middle one of the ratios of a to b, round by round.
func median(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func staticCredential(b *testing.B) credentials.Credential {
	b.Helper()
	cred, err := credentials.NewCredential(new(credentials.Config).
		SetType("access_key").SetAccessKeyId("LTAI-bench").SetAccessKeySecret("secret"))
	if err != nil {
		b.Fatal(err)
	}
	return cred
}
