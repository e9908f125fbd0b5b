// SPDX-License-Identifier: Apache-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// failure is an error as identity.APIError is.
type failure struct {
	temporary bool
	delay     time.Duration
}

func (f *failure) Error() string             { return fmt.Sprintf("temporary: %v", f.temporary) }
func (f *failure) Temporary() bool           { return f.temporary }
func (f *failure) RetryDelay() time.Duration { return f.delay }

func TestEarlyNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{Early: Quarter})
		var n atomic.Int32
		load := counting(&n, 100*time.Millisecond, 4*time.Minute)
		get := func() (int, time.Duration) {
			start := time.Now()
			v, err := c.Get(t.Context(), "k", load)
			require.NoError(t, err)
			return v, time.Since(start)
		}
		get()
		time.Sleep(3*time.Minute + 20*time.Second) // early: the window is 45 to 60 s
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if v, took := get(); v != 1 || took != 0 {
					t.Errorf("got %d after %s", v, took)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		time.Sleep(time.Second)
		v, took := get()
		require.Equal(t, 2, v)
		require.Zero(t, took)
		require.Equal(t, int32(2), n.Load(), "one renewal")
		require.Equal(t, 1, c.Stats().Refreshed)
	})
}

// The service is down for the whole window: nobody notices until the real end.
func TestServiceDownWithALiveValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{Early: Quarter})
		var calls atomic.Int32
		down := false
		load := func(context.Context) (int, time.Time, error) {
			calls.Add(1)
			if down {
				return 0, time.Time{}, &failure{temporary: true}
			}
			return 1, time.Now().Add(4 * time.Minute), nil
		}
		_, err := c.Get(t.Context(), "k", load)
		require.NoError(t, err)
		born := time.Now()
		down = true
		for time.Since(born) < 4*time.Minute {
			v, err := c.Get(t.Context(), "k", load)
			require.NoError(t, err, "after %s", time.Since(born))
			require.Equal(t, 1, v)
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, calls.Load(), int32(40), "with backoff")
		require.Greater(t, calls.Load(), int32(3))
		_, err = c.Get(t.Context(), "k", load)
		require.Error(t, err, "until the real end, and not longer")
		require.Positive(t, c.Stats().Failed)
	})
}

func TestLateCallersGetTheNewValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{Early: Quarter})
		var n atomic.Int32
		load := counting(&n, time.Second, 10*time.Minute)
		_, err := c.Get(t.Context(), "k", load)
		require.NoError(t, err)
		time.Sleep(9*time.Minute + 30*time.Second)
		start := time.Now()
		v, err := c.Get(t.Context(), "k", load)
		require.NoError(t, err)
		require.Equal(t, 2, v)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestErrorsAreRememberedForAMoment(t *testing.T) {
	for _, tt := range []struct {
		name      string
		err       error
		least     time.Duration
		most      time.Duration
		remembers bool
	}{
		{"temporary", &failure{temporary: true}, 250 * time.Millisecond, time.Second, true},
		{"temporary, wrapped", fmt.Errorf("x: %w", &failure{temporary: true}), 250 * time.Millisecond, time.Second, true},
		{"asked to wait", &failure{temporary: true, delay: 10 * time.Second}, 10 * time.Second, 10 * time.Second, true},
		{"permanent", &failure{}, time.Second, 5 * time.Second, true},
		{"unknown", errors.New("x"), 0, 0, false},
		{"canceled", context.Canceled, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New[string, int](Config[string]{})
				calls := 0
				load := func(context.Context) (int, time.Time, error) { calls++; return 0, time.Time{}, tt.err }
				get := func() {
					_, err := c.Get(t.Context(), "k", load)
					require.ErrorIs(t, err, tt.err)
				}
				get()
				get()
				if !tt.remembers {
					require.Equal(t, 2, calls)
					return
				}
				require.Equal(t, 1, calls)
				time.Sleep(tt.least - time.Millisecond)
				get()
				require.Equal(t, 1, calls)
				time.Sleep(tt.most - tt.least + 2*time.Millisecond)
				get()
				require.Equal(t, 2, calls)
				_, err := c.Get(t.Context(), "other", load)
				require.ErrorIs(t, err, tt.err)
				require.Equal(t, 3, calls, "another key has no part in it")
				c.Drop("k", func(int) bool { return true })
				get()
				require.Equal(t, 4, calls, "a drop forgets the error, too")
			})
		})
	}
}

func TestOwnersAreBounded(t *testing.T) {
	type key struct{ owner, provider int }
	c := New[key, int](Config[key]{MaxEntries: 10_000, MaxPerOwner: 8, Owner: func(k key) uint64 { return uint64(k.owner) }})
	put := func(k key) {
		_, err := c.Get(t.Context(), k, func(context.Context) (int, time.Time, error) { return 1, time.Now().Add(time.Hour), nil })
		require.NoError(t, err)
	}
	for owner := range 100 {
		put(key{owner, 0})
	}
	for provider := range 10_000 {
		put(key{1000, provider})
	}
	require.Equal(t, 108, c.Len())
	hits := c.Stats().Hits
	for owner := range 100 {
		put(key{owner, 0})
	}
	require.Equal(t, hits+100, c.Stats().Hits, "a hostile owner pushed out its own values only")
	c.Forget(func(k key) bool { return k.owner == 1000 })
	require.Equal(t, 100, c.Len())
	for i := range c.shards {
		require.LessOrEqual(t, len(c.shards[i].owned), 100)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		c := New[string, int](Config[string]{Early: Quarter})
		_, err := c.Get(t.Context(), "a", func(context.Context) (int, time.Time, error) { return 1, time.Now().Add(time.Hour), nil })
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := c.Get(t.Context(), "b", func(ctx context.Context) (int, time.Time, error) {
				<-ctx.Done()
				return 0, time.Time{}, ctx.Err()
			})
			done <- err
		}()
		synctest.Wait()
		closed := make(chan struct{})
		go func() { c.Close(); close(closed) }()
		require.ErrorIs(t, <-done, ErrClosed)
		<-closed
		c.Close()
		_, err = c.Get(t.Context(), "a", nil)
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, c.Len())
		require.Zero(t, c.Stats().InFlight)
	})
}

func BenchmarkHitParallel(b *testing.B) {
	type key [66]byte
	c := New[key, int](Config[key]{})
	ks := make([]key, 1000)
	load := func(context.Context) (int, time.Time, error) { return 1, time.Now().Add(time.Hour), nil }
	for i := range ks {
		copy(ks[i][:], fmt.Sprint(i))
		_, _ = c.Get(b.Context(), ks[i], load)
	}
	b.ReportAllocs()
	var seed atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(seed.Add(337))
		for pb.Next() {
			_, _ = c.Get(b.Context(), ks[i%len(ks)], load)
			i++
		}
	})
}
