// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := NewMemory(100)
		_, err := m.Get(ctx, "k")
		require.ErrorIs(t, err, ErrNotFound)

		value := []byte("v")
		require.NoError(t, m.Put(ctx, "k", value, time.Minute))
		value[0] = 'x'
		got, err := m.Get(ctx, "k")
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
		got[0] = 'x'
		got, err = m.Get(ctx, "k")
		require.NoError(t, err)
		require.Equal(t, "v", string(got), "values are copied")

		absent, err := m.PutIfAbsent(ctx, "k", []byte("w"), time.Minute)
		require.NoError(t, err)
		require.False(t, absent)
		time.Sleep(time.Minute)
		_, err = m.Get(ctx, "k")
		require.ErrorIs(t, err, ErrNotFound, "entries end by themselves")
		absent, err = m.PutIfAbsent(ctx, "k", []byte("w"), time.Minute)
		require.NoError(t, err)
		require.True(t, absent)

		var taken atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := m.Take(ctx, "k"); err == nil {
					taken.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), taken.Load(), "only one gets it")

		require.NoError(t, m.Put(ctx, "d", nil, time.Minute))
		require.NoError(t, m.Delete(ctx, "d"))
		require.NoError(t, m.Delete(ctx, "d"))
		_, err = m.Get(ctx, "d")
		require.ErrorIs(t, err, ErrNotFound)

		for i := range 1000 {
			require.NoError(t, m.Put(ctx, fmt.Sprint(i), []byte("v"), time.Hour))
		}
		require.Len(t, m.entries, 100)
		_, err = m.Get(ctx, "999")
		require.NoError(t, err)

		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = m.Get(ended, "999")
		require.ErrorIs(t, err, context.Canceled)
	})
}
