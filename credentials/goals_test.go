// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

// The tests of this file hold what the cache promises, by number. Those of
// other packages: 13 is the race detector on all of them, 14 is in identity, 15
// in leak_test.go; 9 and 11 are in forget_test.go, 10 in credentials_test.go.

func user(ctx context.Context, id string) context.Context {
	return identity.NewContext(ctx, identity.Caller{UserID: id})
}

// A hit allocates nothing, and a decorated call no more than its function.
func TestGoal01And02HitsAllocateNothing(t *testing.T) {
	agent, cloud := newAgent(t)
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	sts := credentials.NewSTSSource(agent, credentials.STSConfig{})
	token := credentials.NewWorkloadTokenSource(agent)
	tool := credentials.RequiresAPIKey(key, func(_ context.Context, _ credentials.APIKey, in int) (int, error) { return in, nil })
	both := credentials.Require(credentials.Both(key, sts), func(_ context.Context, _ credentials.Pair[credentials.APIKey, credentials.STSCredential], in int) (int, error) {
		return in, nil
	})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	for name, f := range map[string]func() error{
		"API key":        func() error { _, err := key.Credential(ctx); return err },
		"STS":            func() error { _, err := sts.Credential(ctx); return err },
		"workload token": func() error { _, err := token.Credential(ctx); return err },
		"decorated call": func() error { _, err := tool(ctx, 1); return err },
		"two of them":    func() error { _, err := both(ctx, 1); return err },
	} {
		require.NoError(t, f())
		require.Zero(t, testing.AllocsPerRun(100, func() { _ = f() }), name)
	}
}

// However many come at once, each key and layer is asked once, and once more
// after its end.
func TestGoal03OneCallForEachKeyAndLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		service.latency = 20 * time.Millisecond
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "weather"})
		calls := func() []int {
			return []int{service.count("GetWorkloadAccessTokenForUserId"), service.count("AssumeRoleForWorkloadIdentity"), service.count("GetResourceAPIKey")}
		}
		burst := func(users int) {
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					if _, err := src.Credential(user(t.Context(), fmt.Sprint("user-", i%users))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		burst(1)
		require.Equal(t, []int{1, 1, 1}, calls())
		agent.Purge()
		burst(100)
		require.Equal(t, []int{101, 101, 101}, calls())
		for round := 1; round <= 10; round++ {
			time.Sleep(2 * time.Hour) // everything has ended
			burst(1)
			require.Equal(t, []int{101 + round, 101 + round, 101 + round}, calls())
		}
	})
}

// Twenty tools of one user at once, cold: one workload token, one session, and
// each provider once.
func TestGoal04TwentyParallelTools(t *testing.T) {
	agent, cloud := newAgent(t)
	cloud.AddAPIKeyProvider("second", identity.NewSecret("k"))
	cloud.AddOnBehalfOfProvider("third", []string{"api://x"})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	call := []func() error{
		func() error {
			_, err := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider}).Credential(ctx)
			return err
		},
		func() error {
			_, err := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "second"}).Credential(ctx)
			return err
		},
		func() error {
			_, err := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{Provider: "third", Flow: identity.FlowOnBehalfOf, Audience: "api://x"}).Credential(ctx)
			return err
		},
		func() error {
			_, err := credentials.NewSTSSource(agent, credentials.STSConfig{}).Credential(ctx)
			return err
		},
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := call[i%len(call)](); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for op, want := range map[string]int{
		"GetWorkloadAccessTokenForJWT": 1, "AssumeRoleForWorkloadIdentity": 1, "GetResourceAPIKey": 2, "GetResourceOAuth2Token": 1,
	} {
		require.Equal(t, want, cloud.Count(op), op)
	}
}

// 500 callers of a source that fails: one call, they all return with it, and
// a queue of later ones does not repeat it.
func TestGoal05FailingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		service.latency = 2 * time.Millisecond
		service.answer("GetWorkloadAccessTokenForUserId", 403, `{"Code":"NoPermission"}`)
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "weather"})
		ctx := user(t.Context(), "u")
		begun := time.Now()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if _, err := src.Credential(ctx); err == nil {
					t.Error("no error")
				}
				if took := time.Since(begun); took > 10*time.Millisecond {
					t.Errorf("returned after %s", took)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, service.count("GetWorkloadAccessTokenForUserId"))
		for range 100 { // a second of callers, one after the other
			_, err := src.Credential(ctx)
			require.ErrorIs(t, err, identity.ErrAccessDenied)
			time.Sleep(9 * time.Millisecond)
		}
		require.Equal(t, 1, service.count("GetWorkloadAccessTokenForUserId"))
		time.Sleep(5 * time.Second)
		_, err := src.Credential(ctx)
		require.ErrorIs(t, err, identity.ErrAccessDenied)
		require.Equal(t, 2, service.count("GetWorkloadAccessTokenForUserId"), "and then it is asked again")
	})
}

// The first caller's end fails nobody else, and a caller's own end is kept.
func TestGoal06LeadersAndWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		service.latency = 80 * time.Millisecond
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewWorkloadTokenSource(agent)
		leader, cancel := context.WithCancel(user(t.Context(), "u"))
		begun := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := src.Credential(leader)
			if err != context.Canceled || time.Since(begun) != 20*time.Millisecond {
				t.Errorf("leader: %v after %s", err, time.Since(begun))
			}
		})
		time.Sleep(time.Millisecond)
		for i := range 100 {
			wg.Go(func() {
				ctx := user(t.Context(), "u")
				if i%2 == 0 { // half of them have less time than it takes
					short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
					defer cancel()
					ctx = short
				}
				_, err := src.Credential(ctx)
				switch took := time.Since(begun); {
				case i%2 == 0 && (err != context.DeadlineExceeded || took != 31*time.Millisecond):
					t.Errorf("short of time: %v after %s", err, took)
				case i%2 == 1 && (err != nil || took != 80*time.Millisecond):
					t.Errorf("follower: %v after %s", err, took)
				}
			})
		}
		time.Sleep(19 * time.Millisecond)
		cancel()
		wg.Wait()
		require.Equal(t, 1, service.count("GetWorkloadAccessTokenForUserId"))
	})
}

// Shortly before the end nobody waits for the renewal, and nobody fails while
// the service is down, until the very end.
func TestGoal07EarlyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newMemoryService()
		service.latency = 300 * time.Millisecond
		agent := service.agent(t)
		defer agent.Close()
		src := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "weather"}) // five minutes
		ctx := user(t.Context(), "u")
		get := func() time.Duration {
			begun := time.Now()
			if _, err := src.Credential(ctx); err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
		get()
		kept := time.Now()
		time.Sleep(4*time.Minute + 20*time.Second) // 40 s before the end, in the window, not late
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if took := get(); took > 0 {
					t.Errorf("waited for %s", took)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		require.Equal(t, 2, service.count("GetResourceAPIKey"))

		for _, op := range []string{"GetResourceAPIKey", "GetWorkloadAccessTokenForUserId", "AssumeRoleForWorkloadIdentity"} {
			service.answer(op, 503, `{"Code":"ServiceUnavailable"}`)
		}
		kept = kept.Add(4*time.Minute + 20*time.Second) // renewed then
		for time.Since(kept) < 5*time.Minute {
			get()
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		_, err := src.Credential(ctx)
		require.ErrorIs(t, err, identity.ErrUnavailable, "it has ended")
	})
}

// A wrong local clock does no harm where the service tells its own, and every
// form of time is read.
func TestGoal08ClocksAndTimes(t *testing.T) {
	type result struct {
		err  error
		life time.Duration
	}
	try := func(t *testing.T, expiration func(server time.Time) string, skew time.Duration, tellsDate bool) (r result) {
		synctest.Test(t, func(t *testing.T) {
			service := newMemoryService()
			agent := service.agent(t)
			defer agent.Close()
			var date string
			service.header = func() (string, string) {
				if !tellsDate {
					return "", ""
				}
				return "Date", date
			}
			service.answers["AssumeRoleForWorkloadIdentity"] = func(url.Values) (int, string, string) {
				server := time.Now().Add(skew)
				date = server.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
				return 200, "", fmt.Sprintf(`{"Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":%q}}`, expiration(server))
			}
			begun := time.Now()
			ctx := user(t.Context(), "u")
			if _, r.err = agent.Session(ctx, workload.SessionOptions{}); r.err != nil {
				return
			}
			for service.count("AssumeRoleForWorkloadIdentity") == 1 && r.life < 3*time.Hour {
				time.Sleep(time.Minute)
				r.life = time.Since(begun)
				_, err := agent.Session(ctx, workload.SessionOptions{})
				require.NoError(t, err)
				synctest.Wait()
			}
		})
		return r
	}
	shanghai := time.FixedZone("", 8*3600)
	forms := map[string]func(time.Time) string{
		"UTC":              func(s time.Time) string { return s.Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z") },
		"zone":             func(s time.Time) string { return s.Add(time.Hour).In(shanghai).Format(time.RFC3339) },
		"zone, fractions":  func(s time.Time) string { return s.Add(time.Hour).In(shanghai).Format(time.RFC3339Nano) },
		"fractions":        func(s time.Time) string { return s.Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z") },
		"no zone":          func(s time.Time) string { return s.Add(time.Hour).UTC().Format("2006-01-02T15:04:05") },
		"behind Greenwich": func(s time.Time) string { return s.Add(time.Hour).In(time.FixedZone("", -7*3600)).Format(time.RFC3339) },
	}
	for name, form := range forms {
		for _, skew := range []time.Duration{-10 * time.Minute, 0, 10 * time.Minute} {
			t.Run(fmt.Sprint(name, " ", skew), func(t *testing.T) {
				r := try(t, form, skew, true)
				require.NoError(t, r.err)
				// Renewed in the quarter of an hour before the end of its hour.
				require.GreaterOrEqual(t, r.life, 44*time.Minute)
				require.LessOrEqual(t, r.life, 61*time.Minute)
			})
		}
	}
	t.Run("the service tells no date", func(t *testing.T) {
		r := try(t, forms["UTC"], 0, false)
		require.NoError(t, r.err)
		r = try(t, forms["UTC"], -2*time.Hour, false)
		require.ErrorIs(t, r.err, credentials.ErrExpiredOnArrival)
		require.ErrorContains(t, r.err, "check both clocks")
	})
	t.Run("expired on arrival", func(t *testing.T) {
		for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
			r := try(t, func(s time.Time) string { return s.Add(-time.Second).UTC().Format(time.RFC3339) }, skew, true)
			require.ErrorIs(t, r.err, credentials.ErrExpiredOnArrival)
		}
	})
	for _, text := range []string{"", "soon", "1700000000", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00"} {
		t.Run("unreadable "+text, func(t *testing.T) {
			r := try(t, func(time.Time) string { return text }, 0, true)
			require.ErrorContains(t, r.err, identity.CodeMalformedResponse)
		})
	}
}

// 100,000 users pass through a cache of 10,000 entries, and one with 10,000
// providers pushes out nobody else's.
func TestGoal12Bounds(t *testing.T) {
	client, err := identity.New(identity.Config{})
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: "agent"})
	require.NoError(t, err)
	value := &struct{ s string }{strings.Repeat("x", 10)}
	load := func(context.Context) (*struct{ s string }, time.Time, error) {
		return value, time.Now().Add(time.Hour), nil
	}
	get := func(id, provider string) {
		_, err := workload.Cached(user(context.Background(), id), agent, workload.NewCacheKey(workload.KindAPIKey, provider, ""), load)
		require.NoError(t, err)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 100_000 {
		get(fmt.Sprint("user-", i), "weather")
	}
	stats := agent.Stats().APIKey
	live := stats.Misses - stats.Evicted
	require.LessOrEqual(t, live, 10_000)
	require.Greater(t, live, 9_000)
	overhead := float64(heap()-before) / float64(live)
	t.Logf("%.0f bytes for each of %d entries", overhead, live)
	require.Less(t, overhead, 1024.0)

	get("victim", "weather")
	evicted := agent.Stats().APIKey.Evicted
	for i := range 10_000 {
		get("hostile", fmt.Sprint("provider-", i))
	}
	misses := agent.Stats().APIKey.Misses
	get("victim", "weather")
	require.Equal(t, misses, agent.Stats().APIKey.Misses, "the victim's is still there")
	require.LessOrEqual(t, agent.Stats().APIKey.Evicted-evicted, 10_000)
	require.GreaterOrEqual(t, agent.Stats().APIKey.Evicted-evicted, 10_000-64-64, "its own")
	runtime.KeepAlive(agent)
}
