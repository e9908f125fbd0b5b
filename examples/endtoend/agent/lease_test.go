// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
)

// sharedStore is a store that several processes might use.
type sharedStore struct{ *store.Memory }

func (sharedStore) Notify(context.Context, string) error { return nil }

func (sharedStore) Listen(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return ctx.Err()
}

// A chat is answered by one replica at a time. That another holds it is waited
// for, because it may have died; within a process it is refused at once.
func TestOneReplicaAnswersAChat(t *testing.T) {
	shared := sharedStore{store.NewMemory(100)}
	replica := func() *Server { return New(Config{Store: shared, Log: slog.New(slog.DiscardHandler)}) }
	one, two := replica(), replica()
	leave, _, err := one.enter(t.Context(), "chat")
	require.NoError(t, err)
	_, _, err = one.enter(t.Context(), "chat")
	require.ErrorIs(t, err, store.ErrHeld)
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, err = two.enter(short, "chat")
	require.ErrorIs(t, err, context.DeadlineExceeded, "it waits")
	other, _, err := two.enter(t.Context(), "another chat")
	require.NoError(t, err)
	other()
	leave()
	leave, _, err = two.enter(t.Context(), "chat")
	require.NoError(t, err, "it is free again")
	leave()

	// A process that died leaves a lease that ends.
	require.NoError(t, shared.Put(t.Context(), "lease/chat", []byte("dead"), time.Second))
	leave, _, err = one.enter(t.Context(), "chat")
	require.NoError(t, err)
	leave()
	// One that lives and goes on is believed in the end.
	stop, _, err := store.Acquire(t.Context(), shared, "chat", leaseLife)
	require.NoError(t, err)
	t.Cleanup(stop)
	_, _, err = one.enter(t.Context(), "chat")
	require.ErrorIs(t, err, store.ErrHeld)
}
