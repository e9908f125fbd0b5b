// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// newAgent makes an agent of a service that takes latency for each answer.
func newAgent(b *testing.B, latency time.Duration) *workload.Agent {
	b.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"WorkloadAccessToken":"t","APIKey":"k","Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":%q}}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	b.Cleanup(srv.Close)
	// One attempt: what a benchmark repeats would hide what it measures.
	client, err := identity.New(identity.Config{Endpoint: srv.URL, ControlEndpoint: srv.URL, Attempts: 1, Credential: staticCredential(b)})
	if err != nil {
		b.Fatal(err)
	}
	agent, err := workload.New(workload.Config{Client: client, Name: "agent", MaxEntries: 200_000})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(agent.Close)
	return agent
}

func users(n int) []context.Context {
	all := make([]context.Context, n)
	for i := range all {
		all[i] = identity.NewContext(context.Background(), identity.Caller{UserID: fmt.Sprint("user-", i)})
	}
	return all
}

// hits measures credentials that are kept, for n users.
func hits(n int, parallel bool) func(b *testing.B) {
	return func(b *testing.B) {
		agent := newAgent(b, 0)
		all := users(n)
		key := workload.NewCacheKey(workload.KindAPIKey, provider, "")
		load := func(context.Context) (credentials.APIKey, time.Time, error) {
			return credentials.APIKey{Provider: provider}, time.Now().Add(time.Hour), nil
		}
		get := func(i int) {
			if _, err := workload.Cached(all[i%n], agent, key, load); err != nil {
				b.Fatal(err)
			}
		}
		for i := range n {
			get(i)
		}
		b.ReportAllocs()
		b.ResetTimer()
		if !parallel {
			for i := range b.N {
				get(i)
			}
			return
		}
		var start atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := int(start.Add(337)); pb.Next(); i++ {
				get(i)
			}
		})
	}
}

func bareCall(b *testing.B) {
	tool := func(_ context.Context, in string) (int, error) { return strings.Count(in, "a"), nil }
	ctx := users(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tool(ctx, "Hangzhou")
	}
}

func decoratedCall(b *testing.B) {
	key := credentials.NewAPIKeySource(newAgent(b, 0), credentials.APIKeyConfig{Provider: provider})
	tool := credentials.RequiresAPIKey(key, func(_ context.Context, _ credentials.APIKey, in string) (int, error) {
		return strings.Count(in, "a"), nil
	})
	ctx := users(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tool(ctx, "Hangzhou"); err != nil {
			b.Fatal(err)
		}
	}
}

// callers measures calls of a decorated tool by 50 goroutines of one user, with
// 20 ms of service latency: cold, when nothing is kept, or warm.
func callers(warm bool) func(b *testing.B) {
	return func(b *testing.B) {
		agent := newAgent(b, 20*time.Millisecond)
		key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: provider})
		ctx := users(1)[0]
		b.SetParallelism(25) // times two cores
		b.ReportAllocs()
		if warm {
			_, _ = key.Credential(ctx)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := key.Credential(ctx); err != nil {
						b.Error(err)
					}
				}
			})
			return
		}
		for b.Loop() {
			agent.Purge()
			done := make(chan error, 50)
			for range 50 {
				go func() { _, err := key.Credential(ctx); done <- err }()
			}
			for range 50 {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
