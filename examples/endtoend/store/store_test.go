// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startRedis starts a real Redis of its own on loopback.
func startRedis(t *testing.T) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := l.Addr().String()
	require.NoError(t, l.Close())
	return "redis://" + host + "/0", startRedisAt(t, host)
}

func startRedisAt(t *testing.T, host string) (stop func()) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI_REDIS") != "" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed; with it, the store of replicas is tested, too")
	}
	_, port, _ := net.SplitHostPort(host)
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	require.NoError(t, cmd.Start())
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", host)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	return stop
}

func TestStores(t *testing.T) {
	for name, address := range map[string]func(t *testing.T) string{
		"memory": func(*testing.T) string { return "memory:" },
		"file":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "new folder", "store.db") },
		"redis":  func(t *testing.T) string { a, _ := startRedis(t); return a },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(address(t), "test/", bytes.Repeat([]byte{7}, 32))
			require.NoError(t, err)
			defer s.Close()
			contract(t, s)
		})
	}
}

// contract is what each store must do.
func contract(t *testing.T, s Store) {
	ctx := t.Context()
	_, err := s.Get(ctx, "k")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Take(ctx, "k")
	require.ErrorIs(t, err, ErrNotFound)

	value := []byte("v\x00\xff")
	require.NoError(t, s.Put(ctx, "k", value, time.Minute))
	value[0] = 'x'
	got, err := s.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "v\x00\xff", string(got), "values are copied")
	refused := errors.New("refused")
	require.ErrorIs(t, s.Update(ctx, "k", time.Minute, func(old []byte) ([]byte, error) {
		require.Equal(t, "v\x00\xff", string(old))
		return []byte("w"), refused
	}), refused)
	got, err = s.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "v\x00\xff", string(got), "a refused change changes nothing")

	require.NoError(t, s.Put(ctx, "short", []byte("v"), 50*time.Millisecond))
	require.Eventually(t, func() bool { _, err := s.Get(ctx, "short"); return err != nil }, 5*time.Second, 10*time.Millisecond, "entries end by themselves")
	require.NoError(t, s.Update(ctx, "short", time.Minute, func(old []byte) ([]byte, error) {
		require.Nil(t, old, "it has ended")
		return []byte("w"), nil
	}))

	var taken, put atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Take(ctx, "k"); err == nil {
				taken.Add(1)
			}
			if s.Update(ctx, "count", time.Minute, func(old []byte) ([]byte, error) { return append(bytes.Clone(old), 'x'), nil }) == nil {
				put.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), taken.Load(), "only one gets it")
	require.Equal(t, int32(50), put.Load())
	got, err = s.Get(ctx, "count")
	require.NoError(t, err)
	require.Len(t, got, 50, "no change is lost")
	require.NoError(t, s.Put(ctx, "empty", nil, time.Minute))
	require.NoError(t, s.Update(ctx, "empty", time.Minute, func(old []byte) ([]byte, error) {
		require.NotNil(t, old, "empty is not absent")
		return nil, nil
	}))
	_, err = s.Get(ctx, "empty")
	require.ErrorIs(t, err, ErrNotFound, "nil deletes")
	require.NoError(t, s.Delete(ctx, "count"))
	require.NoError(t, s.Delete(ctx, "count"))
	_, err = s.Get(ctx, "count")
	require.ErrorIs(t, err, ErrNotFound)

	// A lease has one holder, and is free when that lets go.
	release, _, err := Acquire(ctx, s, "chat", 3*time.Second)
	require.NoError(t, err)
	_, _, err = Acquire(ctx, s, "chat", time.Minute)
	require.ErrorIs(t, err, ErrHeld)
	time.Sleep(3500 * time.Millisecond) // longer than its life: it is prolonged
	_, _, err = Acquire(ctx, s, "chat", time.Minute)
	require.ErrorIs(t, err, ErrHeld)
	release()
	release2, _, err := Acquire(ctx, s, "chat", time.Minute)
	require.NoError(t, err)
	release2()
	release, lost, err := Acquire(ctx, s, "chat", 90*time.Millisecond)
	require.NoError(t, err)
	defer release()
	require.NoError(t, s.Put(ctx, "lease/chat", []byte("another"), time.Minute))
	<-lost

	// Lists.
	list, err := s.List(ctx, "l")
	require.NoError(t, err)
	require.Empty(t, list)
	for i := range 3 {
		require.NoError(t, s.Append(ctx, "l", []byte{byte(i), 0xff}, time.Minute))
	}
	want := [][]byte{{0, 0xff}, {1, 0xff}, {2, 0xff}}
	list, err = s.List(ctx, "l")
	require.NoError(t, err)
	require.Equal(t, want, list)
	taken.Store(0)
	for range 20 {
		wg.Go(func() {
			if list, err := s.TakeAll(ctx, "l"); err == nil && len(list) == 3 {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), taken.Load(), "only one gets the list")

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Get(ended, "short")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Put(ended, "short", nil, time.Minute), context.Canceled)
}

func TestMemoryIsBounded(t *testing.T) {
	m := NewMemory(100)
	for i := range 1000 {
		require.NoError(t, m.Put(t.Context(), fmt.Sprint(i), []byte("v"), time.Hour))
	}
	require.Len(t, m.entries, 100)
	_, err := m.Get(t.Context(), "999")
	require.NoError(t, err)
}

func TestFileSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	f, err := OpenFile(path)
	require.NoError(t, err)
	require.NoError(t, f.Put(t.Context(), "long", []byte("v"), time.Hour))
	require.NoError(t, f.Put(t.Context(), "short", []byte("v"), time.Millisecond))
	_, err = OpenFile(path)
	require.ErrorContains(t, err, "open in another process")
	require.NoError(t, f.Close())
	require.Error(t, f.Put(t.Context(), "late", nil, time.Hour))

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "only this user may read it")
	time.Sleep(2 * time.Millisecond)
	f, err = OpenFile(path)
	require.NoError(t, err)
	defer f.Close()
	got, err := f.Get(t.Context(), "long")
	require.NoError(t, err)
	require.Equal(t, "v", string(got))
}

func TestWrongAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"":                                "want redis://",
		"redis://user:hunter2@host:x/0":   "not of the form",
		"redis://user:hunter2@host/zero?": "not of the form",
	} {
		_, err := Open(address, "", make([]byte, 32))
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "hunter2")
	}
	damaged := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(damaged, []byte("this is no store, and stays as it is"), 0o600))
	_, err := OpenFile(damaged)
	require.ErrorContains(t, err, "if it is no store, move it away")
	b, err := os.ReadFile(damaged)
	require.NoError(t, err)
	require.Equal(t, "this is no store, and stays as it is", string(b))
}

// A wake-up told through one client is heard through another; an outage is an
// error.
func TestRedisNotifiesAndFails(t *testing.T) {
	address, stop := startRedis(t)
	one, err := OpenRedis(address, "test/")
	require.NoError(t, err)
	defer one.Close()
	other, err := OpenRedis(address, "test/")
	require.NoError(t, err)
	defer other.Close()
	heard := make(chan string, 100)
	ended := make(chan error, 1)
	go func() { ended <- other.Listen(t.Context(), func(topic string) { heard <- topic }) }()
	require.Eventually(t, func() bool {
		require.NoError(t, one.Notify(t.Context(), "topic"))
		select {
		case topic := <-heard:
			return topic == "topic"
		default:
			return false
		}
	}, 10*time.Second, 10*time.Millisecond)
	stop()
	_, err = one.Get(t.Context(), "k")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNotFound)
	require.Error(t, <-ended)

	// It heals by itself.
	startRedisAt(t, strings.TrimSuffix(strings.TrimPrefix(address, "redis://"), "/0"))
	require.Eventually(t, func() bool { return one.Put(t.Context(), "k", []byte("v"), time.Minute) == nil }, 10*time.Second, 50*time.Millisecond)
	got, err := other.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(got))
}

// What is written is sealed: nothing of it shows, it opens with the same key
// only, and in its own place only.
func TestSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, "", nil)
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), "k", []byte("PLANTED-secret"), time.Hour))
	require.NoError(t, s.Append(t.Context(), "k", []byte("PLANTED-secret"), time.Hour))
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(b), "PLANTED")
	info, err := os.Stat(path + ".key")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	s, err = Open(path, "", nil)
	require.NoError(t, err)
	got, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "PLANTED-secret", string(got))
	require.NoError(t, s.Close())

	f, err := OpenFile(path)
	require.NoError(t, err)
	raw, err := f.Get(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, f.Put(t.Context(), "other", raw, time.Hour))
	require.NoError(t, f.Close())
	s, err = Open(path, "", nil)
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "other")
	require.ErrorIs(t, err, ErrSealed, "moved")
	require.NoError(t, s.Close())
	s, err = Open(path, "", make([]byte, 32))
	require.NoError(t, err)
	defer s.Close()
	for _, err := range []error{
		func() error { _, err := s.Get(t.Context(), "k"); return err }(),
		func() error { _, err := s.List(t.Context(), "k"); return err }(),
		s.Update(t.Context(), "k", time.Hour, func([]byte) ([]byte, error) { t.Error("called"); return nil, nil }),
	} {
		require.ErrorIs(t, err, ErrSealed)
	}

	_, err = Open("redis://127.0.0.1:1/0", "", nil)
	require.ErrorContains(t, err, "needs a key")
	_, err = ParseKey("c2hvcnQ=")
	require.ErrorContains(t, err, "32 bytes")
}
