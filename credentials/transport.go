// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// Transport is an [http.RoundTripper] that adds a credential to each request:
// that of the caller in the request's context. It suits clients that are shared
// by all users, such as those of MCP servers.
//
// A credential is sent to Hosts alone, whatever a redirect says, and over HTTPS
// alone, but for loopback addresses. When a host answers 401, exactly the
// credential that it rejected is dropped, and the request is sent once more
// with a new one, if its body can be sent again.
//
// It is safe for concurrent use; its fields must not change after the first
// request.
type Transport[C any] struct {
	// Source supplies the credential. Required. An error of it is returned by
	// RoundTrip, and http.Client wraps it so that errors.Is and errors.As find
	// it.
	Source Source[C]
	// Hosts get the credential: "api.example.com" for the scheme's default
	// port, "api.example.com:8443" for another. Requests to others are passed
	// on as they are. Required.
	Hosts []string
	// Authorize adds the credential to a request's header. If nil, an
	// [OAuth2Token] and a [WorkloadToken] are sent as "Authorization: Bearer";
	// other credentials need it.
	Authorize func(header http.Header, cred C)
	// Base sends the requests. If nil, http.DefaultTransport.
	Base http.RoundTripper
}

var _ http.RoundTripper = (*Transport[OAuth2Token])(nil)

// RoundTrip implements [http.RoundTripper].
func (t *Transport[C]) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if err := t.check(); err != nil {
		return nil, refuse(req, err)
	}
	if !slices.ContainsFunc(t.Hosts, func(host string) bool { return sameHost(host, req.URL) }) {
		return base.RoundTrip(req)
	}
	if req.URL.Scheme != "https" && !loopback.Is(req.URL.Hostname()) {
		return nil, refuse(req, fmt.Errorf("credentials: not sending a credential to %s over plain HTTP: use https", req.URL.Host))
	}
	cred, err := t.Source.Credential(req.Context())
	if err != nil {
		return nil, refuse(req, err)
	}
	resp, err := base.RoundTrip(t.authorized(req, req.Body, cred))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	return t.again(base, req, resp, cred)
}

// Prepare gets the credential of the caller in ctx, for requests that are to
// come: waiting for the user's consent is then not part of a request, nor of its
// time limit.
func (t *Transport[C]) Prepare(ctx context.Context) error {
	if err := t.check(); err != nil {
		return err
	}
	_, err := t.Source.Credential(ctx)
	return err
}

// again sends req once more after its credential was rejected with resp, if
// there is another credential and the body can be sent again. Else it returns
// resp as it is.
func (t *Transport[C]) again(base http.RoundTripper, req *http.Request, resp *http.Response, rejected C) (*http.Response, error) {
	if !reject(req.Context(), t.Source, rejected) {
		return resp, nil
	}
	body := io.ReadCloser(nil)
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		body = req.Body
	case req.GetBody == nil:
		return resp, nil
	default:
		var err error
		if body, err = req.GetBody(); err != nil {
			return resp, nil // the answer that is there says more
		}
	}
	cred, err := t.Source.Credential(req.Context())
	if err != nil {
		if body != nil {
			_ = body.Close()
		}
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w; getting another failed: %w", ErrRejected, err)
	}
	// The connection can be used again once the answer has been read.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	return base.RoundTrip(t.authorized(req, body, cred))
}

func (t *Transport[C]) authorized(req *http.Request, body io.ReadCloser, cred C) *http.Request {
	r := req.Clone(req.Context())
	r.Body = body
	if t.Authorize != nil {
		t.Authorize(r.Header, cred)
		return r
	}
	r.Header.Set("Authorization", "Bearer "+bearer(cred))
	return r
}

// bearer is the token of a credential that is one, else "".
func bearer(cred any) string {
	switch c := cred.(type) {
	case OAuth2Token:
		return c.AccessToken.Reveal()
	case WorkloadToken:
		return c.Token.Reveal()
	}
	return ""
}

func (t *Transport[C]) check() error {
	var cred any = *new(C)
	_, isOAuth2 := cred.(OAuth2Token)
	_, isWorkload := cred.(WorkloadToken)
	switch {
	case t.Source == nil:
		return errors.New("credentials: Transport.Source is required")
	case len(t.Hosts) == 0:
		return errors.New("credentials: Transport.Hosts is required: the hosts that may get the credential")
	case t.Authorize == nil && !isOAuth2 && !isWorkload:
		return fmt.Errorf("credentials: Transport.Authorize is required for a %T: where it goes is not known", cred)
	}
	return nil
}

// refuse closes the body of a request that is not sent, as a RoundTripper must.
func refuse(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return err
}

func sameHost(host string, u *url.URL) bool {
	if strings.EqualFold(host, u.Host) {
		return true
	}
	defaultPort := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	return strings.EqualFold(host, u.Hostname()) && (u.Port() == "" || u.Port() == defaultPort)
}
