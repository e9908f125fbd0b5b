// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"context"
	"fmt"
	"slices"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
)

// Calls returns what the cloud answered so far, oldest first: the last 10,000
// at least.
func (s *Server) Calls() []Call {
	calls := s.cloud.Calls.Calls()
	out := make([]Call, len(calls))
	for i, c := range calls {
		out[i] = Call(c)
	}
	return out
}

// Count counts the calls of an operation. With users, only theirs.
func (s *Server) Count(op string, users ...string) int {
	return count(s.cloud.Calls.Calls(), op, users)
}

func count(calls []core.Call, op string, users []string) int {
	n := 0
	for _, c := range calls {
		if c.Op == op && (len(users) == 0 || slices.Contains(users, c.User)) {
			n++
		}
	}
	return n
}

// WaitForCalls waits until [Server.Count] of an operation is n or more. When
// ctx ends before, its error says how many there were.
func (s *Server) WaitForCalls(ctx context.Context, op string, n int, users ...string) error {
	seen := 0
	err := s.cloud.Calls.Wait(ctx, func(calls []core.Call) bool {
		seen = count(calls, op, users)
		return seen >= n
	})
	if err != nil {
		return fmt.Errorf("identitytest: waiting for %d calls of %s, saw %d: %w", n, op, seen, err)
	}
	return nil
}

// WaitUntilPolled waits for the next time that somebody asks how a consent
// session goes.
func (s *Server) WaitUntilPolled(ctx context.Context, sessionURI string) error {
	before, first := 0, true
	err := s.cloud.Calls.Wait(ctx, func(calls []core.Call) bool {
		n := 0
		for _, c := range calls {
			if c.Op == "GetResourceOAuth2Token" && c.Params["SessionURI"] == sessionURI {
				n++
			}
		}
		if first {
			before, first = n, false
		}
		return n > before
	})
	if err != nil {
		return fmt.Errorf("identitytest: waiting for a poll: %w", err)
	}
	return nil
}
