// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"errors"
	"fmt"
	"strings"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

// How a consent can end without a token.
var (
	// ErrAuthorizationDenied: the user refused, or the authorization failed.
	ErrAuthorizationDenied = errors.New("credentials: authorization was refused or failed")
	// ErrAuthorizationExpired: the session ended before the user answered.
	ErrAuthorizationExpired = errors.New("credentials: authorization session expired")
	// ErrAuthorizationTimeout: nobody answered within OAuth2Config.Timeout.
	// The link stays valid until its session expires.
	ErrAuthorizationTimeout = errors.New("credentials: nobody answered the authorization request in time")
)

// ErrExpiredOnArrival: the service handed out a credential whose end had passed
// by the local clock. Usually one of the two clocks is wrong.
var ErrExpiredOnArrival = workload.ErrExpiredOnArrival

// AuthorizationRequiredError reports that the user must grant access first.
// Show URL to this user only, and try again afterwards: the same session goes
// on.
type AuthorizationRequiredError struct {
	Provider   string   // OAuth2 credential provider
	Scopes     []string // asked for
	URL        string   // for the user's browser; works once
	SessionURI string   // for identity.Client.CompleteResourceTokenAuth
	// Caller is who began the session: its token or user id, and no other of
	// the same user, must confirm it.
	Caller identity.Caller
}

func required(a Authorization) error {
	return &AuthorizationRequiredError{Provider: a.Provider, Scopes: a.Scopes, URL: a.URL, SessionURI: a.SessionURI, Caller: a.Caller}
}

// Error names no URL: error texts reach logs and models.
func (e *AuthorizationRequiredError) Error() string {
	return fmt.Sprintf("credentials: provider %q: the user must authorize access first (scopes %s)",
		e.Provider, strings.Join(e.Scopes, " "))
}

// outcome reads a session's status. Only failures end a session here: a grant
// shows itself by its token, and what is not known is pending.
func outcome(status string) error {
	switch strings.ToUpper(status) {
	case "FAILED", "DENIED", "ACCESS_DENIED", "REJECTED", "CANCELED", "CANCELLED":
		return ErrAuthorizationDenied
	case "EXPIRED", "TIMEOUT", "TIMED_OUT":
		return ErrAuthorizationExpired
	}
	return nil
}
