// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"fmt"
)

// A Source supplies a credential of type C for the caller in ctx. It must be
// safe for concurrent use.
type Source[C any] interface {
	Credential(ctx context.Context) (C, error)
}

// A Rejecter is a [Source] that keeps credentials and can drop one that a
// resource did not accept. Reject drops cred for the caller in ctx, if it is
// still the one kept; a newer one stays.
type Rejecter[C any] interface {
	Reject(ctx context.Context, cred C)
}

// SourceFunc makes a source from a function, for tests and for credentials
// from elsewhere.
type SourceFunc[C any] func(ctx context.Context) (C, error)

// Credential calls f.
func (f SourceFunc[C]) Credential(ctx context.Context) (C, error) { return f(ctx) }

// Pair holds two credentials for one function; see [Both].
type Pair[A, B any] struct {
	First  A
	Second B
}

// Both combines two sources, for a function that needs two credentials. The
// first is asked first; if it fails, the second is not asked.
func Both[A, B any](first Source[A], second Source[B]) Source[Pair[A, B]] {
	return both[A, B]{first, second}
}

type both[A, B any] struct {
	first  Source[A]
	second Source[B]
}

func (s both[A, B]) Credential(ctx context.Context) (Pair[A, B], error) {
	a, err := s.first.Credential(ctx)
	if err != nil {
		return Pair[A, B]{}, err
	}
	b, err := s.second.Credential(ctx)
	if err != nil {
		return Pair[A, B]{}, err
	}
	return Pair[A, B]{a, b}, nil
}

// Reject drops both: which one was rejected is not known.
func (s both[A, B]) Reject(ctx context.Context, p Pair[A, B]) {
	reject(ctx, s.first, p.First)
	reject(ctx, s.second, p.Second)
}

// reject reports whether src could be told.
func reject[C any](ctx context.Context, src Source[C], cred C) bool {
	r, ok := src.(Rejecter[C])
	if ok {
		r.Reject(ctx, cred)
	}
	return ok
}

// ErrRejected is for functions to wrap in their error when a resource did not
// accept the credential (HTTP status 401).
var ErrRejected = errors.New("credentials: the resource rejected the credential")

// Require binds fn's credential to src. Each call of the result resolves the
// credential for the caller in ctx; if that fails, fn is not called and the
// error is the source's. If fn's error wraps [ErrRejected] and src is a
// [Rejecter], that credential is dropped and fn is called once more with a new
// one.
//
// [RequiresOAuth2], [RequiresAPIKey], [RequiresSTS] and
// [RequiresWorkloadToken] are Require under the names of the four kinds.
func Require[C, In, Out any](
	src Source[C],
	fn func(ctx context.Context, cred C, in In) (Out, error),
) func(context.Context, In) (Out, error) {
	if src == nil || fn == nil {
		panic("credentials: Require needs a source and a function")
	}
	return func(ctx context.Context, in In) (Out, error) {
		cred, err := src.Credential(ctx)
		if err != nil {
			var zero Out
			return zero, err
		}
		out, err := fn(ctx, cred, in)
		if !errors.Is(err, ErrRejected) || !reject(ctx, src, cred) {
			return out, err
		}
		cred, renewErr := src.Credential(ctx)
		if renewErr != nil {
			var zero Out
			return zero, fmt.Errorf("%w; getting another failed: %w", err, renewErr)
		}
		return fn(ctx, cred, in)
	}
}

// RequiresOAuth2 is [Require] for an OAuth2 token.
func RequiresOAuth2[In, Out any](
	src Source[OAuth2Token], fn func(ctx context.Context, token OAuth2Token, in In) (Out, error),
) func(context.Context, In) (Out, error) {
	return Require(src, fn)
}

// RequiresAPIKey is [Require] for an API key.
func RequiresAPIKey[In, Out any](
	src Source[APIKey], fn func(ctx context.Context, key APIKey, in In) (Out, error),
) func(context.Context, In) (Out, error) {
	return Require(src, fn)
}

// RequiresSTS is [Require] for STS credentials.
func RequiresSTS[In, Out any](
	src Source[STSCredential], fn func(ctx context.Context, cred STSCredential, in In) (Out, error),
) func(context.Context, In) (Out, error) {
	return Require(src, fn)
}

// RequiresWorkloadToken is [Require] for a workload access token.
func RequiresWorkloadToken[In, Out any](
	src Source[WorkloadToken], fn func(ctx context.Context, token WorkloadToken, in In) (Out, error),
) func(context.Context, In) (Out, error) {
	return Require(src, fn)
}
