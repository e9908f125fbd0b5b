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

func counting(n *atomic.Int32, took, life time.Duration) func(context.Context) (int, time.Time, error) {
	return func(ctx context.Context) (int, time.Time, error) {
		v := int(n.Add(1))
		select {
		case <-time.After(took):
			return v, time.Now().Add(life), nil
		case <-ctx.Done():
			return 0, time.Time{}, ctx.Err()
		}
	}
}

func TestOneLoadForAllWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{})
		var n atomic.Int32
		for round := 1; round <= 3; round++ {
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					v, err := c.Get(t.Context(), "k", counting(&n, time.Second, time.Minute))
					if err != nil || v != round {
						t.Errorf("round %d: got %d, %v", round, v, err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, int32(round), n.Load())
			time.Sleep(time.Minute) // past the real expiry
		}
	})
}

func TestWaitersObeyTheirOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{})
		var n atomic.Int32
		load := counting(&n, time.Second, time.Minute)
		var wg sync.WaitGroup

		leader, cancelLeader := context.WithCancel(t.Context())
		wg.Go(func() {
			_, err := c.Get(leader, "k", load)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("leader: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k", load); err != nil || v != 1 {
					t.Errorf("follower: %d, %v", v, err)
				}
			})
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.Get(short, "k", load)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 20*time.Millisecond, time.Since(start))
		cancelLeader()
		wg.Wait()
		require.Equal(t, int32(1), n.Load(), "the leader's end must not end the load")
	})
}

func TestLastWaiterCancelsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{})
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = c.Get(ctx, "k", func(ctx context.Context) (int, time.Time, error) {
				<-ctx.Done()
				ended <- ctx.Err()
				return 1, time.Now().Add(time.Hour), nil
			})
		}()
		synctest.Wait()
		cancel()
		require.Equal(t, context.Canceled, <-ended)
		synctest.Wait()
		require.Zero(t, c.Len(), "a load that nobody wanted is not kept")
	})
}

func TestErrorsAreSharedAndNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{})
		var n atomic.Int32
		boom := errors.New("boom")
		load := func(context.Context) (int, time.Time, error) {
			n.Add(1)
			time.Sleep(time.Second)
			return 0, time.Time{}, boom
		}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if _, err := c.Get(t.Context(), "k", load); !errors.Is(err, boom) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), n.Load())
		v, err := c.Get(t.Context(), "k", counting(&n, 0, time.Minute))
		require.NoError(t, err)
		require.Equal(t, 2, v)
	})
}

func TestPanicIsAnErrorWithoutItsText(t *testing.T) {
	c := New[string, int](Config[string]{})
	_, err := c.Get(t.Context(), "k", func(context.Context) (int, time.Time, error) { panic("secret-mark") })
	require.ErrorContains(t, err, "panicked with a string")
	require.NotContains(t, err.Error(), "secret-mark")
}

func TestLoadHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{LoadTimeout: 3 * time.Second})
		start := time.Now()
		_, err := c.Get(t.Context(), "k", func(ctx context.Context) (int, time.Time, error) {
			<-ctx.Done()
			return 0, time.Time{}, ctx.Err()
		})
		require.ErrorIs(t, err, ErrTimeout)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestLoadsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int, int](Config[int]{MaxLoads: 4})
		var now, most atomic.Int32
		var wg sync.WaitGroup
		for k := range 100 {
			wg.Go(func() {
				_, err := c.Get(t.Context(), k, func(context.Context) (int, time.Time, error) {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					now.Add(-1)
					return k, time.Now().Add(time.Hour), nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, most.Load(), int32(4))
	})
}

func TestExpiry(t *testing.T) {
	t.Run("no expiry: shared, not kept", func(t *testing.T) {
		c := New[string, int](Config[string]{})
		var n atomic.Int32
		load := func(context.Context) (int, time.Time, error) { return int(n.Add(1)), time.Time{}, nil }
		for want := 1; want <= 2; want++ {
			v, err := c.Get(t.Context(), "k", load)
			require.NoError(t, err)
			require.Equal(t, want, v)
		}
	})
	t.Run("expired on arrival", func(t *testing.T) {
		c := New[string, int](Config[string]{})
		v, err := c.Get(t.Context(), "k", func(context.Context) (int, time.Time, error) {
			return 7, time.Now().Add(-time.Minute), nil
		})
		require.ErrorIs(t, err, ErrExpiredOnArrival)
		require.Zero(t, v)
	})
	for name, jump := range map[string]time.Duration{"forward": 2 * time.Hour, "backward": -2 * time.Hour} {
		t.Run("the wall clock jumps "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New[string, int](Config[string]{})
				loads := 0
				get := func() {
					_, err := c.Get(t.Context(), "k", func(context.Context) (int, time.Time, error) {
						loads++
						return 7, time.Now().Add(time.Hour), nil
					})
					require.NoError(t, err)
				}
				get()
				c.clock.wall = c.clock.wall.Add(-jump)
				time.Sleep(time.Second)
				get()
				require.Equal(t, map[bool]int{true: 2, false: 1}[jump > 0], loads, "one clock that says it is over is enough")
				time.Sleep(time.Hour)
				get()
				require.Equal(t, map[bool]int{true: 3, false: 2}[jump > 0], loads)
			})
		})
	}
}

func TestBounds(t *testing.T) {
	for _, size := range []int{10, 10_000} {
		c := New[int, int](Config[int]{MaxEntries: size})
		for k := range size * 3 {
			_, err := c.Get(t.Context(), k, func(context.Context) (int, time.Time, error) {
				return k, time.Now().Add(time.Hour), nil
			})
			require.NoError(t, err)
		}
		require.LessOrEqual(t, c.Len(), size)
	}
	c := New[int, int](Config[int]{MaxEntries: 2})
	load := func(k int) int {
		var loaded int
		_, err := c.Get(t.Context(), k, func(context.Context) (int, time.Time, error) {
			loaded++
			return k, time.Now().Add(time.Hour), nil
		})
		require.NoError(t, err)
		return loaded
	}
	require.Equal(t, []int{1, 1, 0, 1, 0, 1}, []int{load(1), load(2), load(1), load(3), load(1), load(2)}, "the least recently used goes")
}

func TestDropAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config[string]{})
		var n atomic.Int32
		get := func(key string) int {
			v, err := c.Get(t.Context(), key, counting(&n, time.Second, time.Hour))
			require.NoError(t, err)
			return v
		}
		old := get("a")
		require.True(t, c.Drop("a", func(v int) bool { return v == old }))
		newer := get("a")
		require.False(t, c.Drop("a", func(v int) bool { return v == old }), "a late complaint about the old value")
		require.Equal(t, newer, get("a"))

		done := make(chan int)
		go func() { done <- get("b") }()
		synctest.Wait()
		require.Equal(t, 1, c.Forget(func(string) bool { return true }))
		inFlight := <-done
		require.NotEqual(t, inFlight, get("b"), "a load under way is not kept")
	})
}

func TestKeysDoNotMix(t *testing.T) {
	type key struct{ user, provider string }
	c := New[key, key](Config[key]{MaxEntries: 4096})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 5000 {
				k := key{fmt.Sprint("u", (i*7+g)%97), fmt.Sprint("p", i%13)}
				v, err := c.Get(t.Context(), k, func(context.Context) (key, time.Time, error) {
					return k, time.Now().Add(time.Millisecond), nil
				})
				if err == nil && v != k {
					t.Errorf("asked for %v, got %v", k, v)
				}
				if i%500 == 0 {
					c.Forget(func(x key) bool { return x.user == k.user })
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkHit(b *testing.B) {
	for _, keys := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			type key [96]byte
			c := New[key, int](Config[key]{MaxEntries: 200_000})
			ks := make([]key, keys)
			load := func(context.Context) (int, time.Time, error) { return 1, time.Now().Add(time.Hour), nil }
			for i := range ks {
				copy(ks[i][:], fmt.Sprint(i))
				_, _ = c.Get(b.Context(), ks[i], load)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				_, _ = c.Get(b.Context(), ks[i%keys], load)
				i++
			}
		})
	}
}

// Should two keys ever have the same hash, neither gets the other's value: the
// later one replaces the other.
func TestTwoKeysOfOneHash(t *testing.T) {
	c := New[string, string](Config[string]{})
	defer c.Close()
	loads := 0
	get := func(key string) string {
		v, err := c.Get(t.Context(), key, func(context.Context) (string, time.Time, error) {
			loads++
			return "value of " + key, time.Now().Add(time.Hour), nil
		})
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "value of a", get("a"))
	from, to := c.shard("a", c.hash("a")), c.shard("b", c.hash("b"))
	e := from.entries[c.hash("a")]
	from.remove(e)
	e.hash = c.hash("b") // as if it were b's, too
	to.insert(e, c.clock.now())

	_, ok := c.Lookup("b")
	require.False(t, ok)
	require.False(t, c.Drop("b", func(string) bool { return true }))
	require.Equal(t, "value of b", get("b"))
	require.Equal(t, 2, loads)
	require.Equal(t, 1, c.Len())
	require.Equal(t, "value of b", get("b"))
	require.Equal(t, 2, loads)
}
