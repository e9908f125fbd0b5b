// SPDX-License-Identifier: Apache-2.0

// Package tokensource turns a source of OAuth2 tokens into the TokenSource of
// golang.org/x/oauth2, for the many clients that take one. It is a package of
// its own so that importing credentials does not bring that module along.
package tokensource

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// New makes a TokenSource that asks src for the caller in ctx:
//
//	client := oauth2.NewClient(ctx, tokensource.New(ctx, docs))
//
// Each token's Expiry is when src keeps it no longer, so that oauth2.Transport
// and oauth2.ReuseTokenSource come back for another in time, and a user's
// revocation takes effect. A token that src does not keep has an Expiry that
// has passed for them, and is asked for each time.
//
// The TokenSource is for one user: oauth2 passes no context. For an HTTP client
// that all users share, use [credentials.Transport]. It is safe for concurrent
// use; its errors are those of src.
func New(ctx context.Context, src credentials.Source[credentials.OAuth2Token]) oauth2.TokenSource {
	return source{ctx, src}
}

type source struct {
	ctx context.Context // the interface has none
	src credentials.Source[credentials.OAuth2Token]
}

// Token implements [oauth2.TokenSource].
func (s source) Token() (*oauth2.Token, error) {
	token, err := s.src.Credential(s.ctx)
	if err != nil {
		return nil, err
	}
	expiry := token.Expires
	if expiry.IsZero() {
		expiry = time.Now() // a zero Expiry would mean that it never ends
	}
	return &oauth2.Token{AccessToken: token.AccessToken.Reveal(), TokenType: "Bearer", Expiry: expiry}, nil
}
