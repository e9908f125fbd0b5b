// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// ErrHeld reports a lease that somebody else holds.
var ErrHeld = errors.New("store: the lease is held by another")

// Acquire takes the lease named key, which one holder has at a time over all
// processes that share the store. It is prolonged until release is called, and
// ends life after its process does. lost is closed should it be lost before,
// because the store could not be reached for that long. If somebody holds it,
// the error is [ErrHeld].
func Acquire(ctx context.Context, s Store, key string, life time.Duration) (release func(), lost <-chan struct{}, err error) {
	mine := randid.Hex(16)
	key = "lease/" + key
	err = s.Update(ctx, key, life, func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, ErrHeld
		}
		return []byte(mine), nil
	})
	if err != nil {
		return nil, nil, err
	}
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		keep(keeping, s, key, mine, life, gone)
	}()
	return func() {
		stop()
		<-ended
		// Not worth waiting for: it ends by itself.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = s.Update(ctx, key, life, own(mine, nil))
	}, gone, nil
}

// keep prolongs a lease until ctx ends, and closes gone if it was lost.
func keep(ctx context.Context, s Store, key, mine string, life time.Duration, gone chan struct{}) {
	ticker := time.NewTicker(life / 3)
	defer ticker.Stop()
	sure := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asked := time.Now()
		err := s.Update(ctx, key, life, own(mine, []byte(mine)))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			sure = asked
		case errors.Is(err, ErrHeld), time.Since(sure) >= life:
			close(gone)
			return
		}
	}
}

// own replaces a value that is mine.
func own(mine string, value []byte) func([]byte) ([]byte, error) {
	return func(old []byte) ([]byte, error) {
		if string(old) != mine {
			return nil, ErrHeld
		}
		return value, nil
	}
}
