// SPDX-License-Identifier: Apache-2.0

// Package idtoken verifies users' ID tokens, for the backend at sign-in and
// again for the agent, which trusts nobody to have done it before.
package idtoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ErrInvalid reports a token that is not what the issuer signed for this
// application, or has expired.
var ErrInvalid = errors.New("the ID token is not valid")

// ErrUnavailable reports that the issuer could not be asked about itself.
var ErrUnavailable = errors.New("the identity provider is not available")

// Claims are what a verified token says.
type Claims struct {
	Issuer, Subject string
	Name, Email     string
	Nonce           string
	Expiry          time.Time
}

// Verifier checks the signature against the issuer's published keys, the
// issuer, the audience and the expiry (OpenID Connect Core 3.1.3.7). The
// issuer is discovered when it is first needed. It is safe for concurrent use.
type Verifier struct {
	issuer, audience string
	client           *http.Client

	mu       sync.Mutex // guards provider
	provider *oidc.Provider
}

// New makes a verifier for tokens of an issuer that are meant for audience,
// the client id of the application.
func New(issuer, audience string) (*Verifier, error) {
	if issuer == "" || audience == "" {
		return nil, errors.New("idtoken: an issuer and an audience are required: without them any token would do")
	}
	return &Verifier{issuer: issuer, audience: audience, client: &http.Client{Timeout: 10 * time.Second}}, nil
}

// Issuer is whose tokens are accepted.
func (v *Verifier) Issuer() string { return v.issuer }

// Provider discovers the issuer, once it succeeds only once.
func (v *Verifier) Provider(ctx context.Context) (*oidc.Provider, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.provider == nil {
		// The key set outlives this request.
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), v.client), v.issuer)
		if err != nil {
			return nil, fmt.Errorf("%w: discovery of %s: %w", ErrUnavailable, v.issuer, err)
		}
		v.provider = p
	}
	return v.provider, nil
}

// Endpoint is where the issuer signs users in.
func (v *Verifier) Endpoint(ctx context.Context) (oauth2.Endpoint, error) {
	p, err := v.Provider(ctx)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	return p.Endpoint(), nil
}

// Revoke ends a refresh token at the issuer (RFC 7009), where the issuer can.
func (v *Verifier) Revoke(ctx context.Context, clientID, refreshToken string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p, err := v.Provider(ctx)
	if err != nil {
		return err
	}
	var metadata struct {
		Endpoint string `json:"revocation_endpoint"`
	}
	if err := p.Claims(&metadata); err != nil {
		return fmt.Errorf("idtoken: discovery: %w", err)
	}
	if metadata.Endpoint == "" && v.issuer == alibabaIssuer {
		metadata.Endpoint = alibabaIssuer + "/v1/revoke" // documented, and not discovered
	}
	if metadata.Endpoint == "" {
		return nil
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {clientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, metadata.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("idtoken: revocation: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := v.client.Do(req)
	if err != nil {
		return fmt.Errorf("idtoken: revocation: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("idtoken: revocation: status %s", resp.Status)
	}
	return nil
}

const alibabaIssuer = "https://oauth.aliyun.com"

// Verify checks a token.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	p, err := v.Provider(ctx)
	if err != nil {
		return Claims{}, err
	}
	t, err := p.Verifier(&oidc.Config{ClientID: v.audience, SupportedSigningAlgs: []string{oidc.RS256}}).Verify(ctx, raw)
	if err != nil {
		if ctx.Err() != nil {
			return Claims{}, ctx.Err()
		}
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var extra struct{ Name, Email string }
	if err := t.Claims(&extra); err != nil || t.Subject == "" {
		return Claims{}, fmt.Errorf("%w: it has no subject", ErrInvalid)
	}
	return Claims{
		Issuer: t.Issuer, Subject: t.Subject, Name: extra.Name, Email: extra.Email, Nonce: t.Nonce, Expiry: t.Expiry,
	}, nil
}
