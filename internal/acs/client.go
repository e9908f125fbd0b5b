// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json; charset=utf-8"

	defaultMaxResponse = 4 << 20
	defaultTimeout     = 15 * time.Second
)

// DefaultUserAgent names this module in the User-Agent header.
const DefaultUserAgent = "agent-identity-go (" + runtime.GOOS + "; " + runtime.GOARCH + ")"

// Config configures a [Client].
type Config struct {
	// Endpoint is "host", "host:port" or a URL without a path. Plain HTTP is
	// accepted for loopback addresses only: calls carry bearer secrets.
	// Required.
	Endpoint string
	// HTTPClient's transport sends the calls, within its time limit. If nil, a
	// shared transport that keeps connections alive is used. Redirects are
	// never followed, and cookies not kept, whatever the client says.
	HTTPClient *http.Client
	// Attempts is how often a call is sent at most, throttled ones aside. If
	// zero, 3; 1 never repeats.
	Attempts int
	// Timeout limits one attempt. If zero, 15 seconds.
	Timeout time.Duration
	// MaxResponse limits an answer's size in bytes. If zero, 4 MiB.
	MaxResponse int64
	// UserAgent is sent after [DefaultUserAgent].
	UserAgent string
	// Logger gets one debug line for each attempt. If nil, none.
	Logger *slog.Logger
}

// Client calls the operations of one endpoint. It is safe for concurrent use.
type Client struct {
	base        url.URL
	http        http.RoundTripper
	attempts    int
	timeout     time.Duration
	maxResponse int64
	userAgent   string
	log         *slog.Logger
	paces       pacers
}

// sharedTransport keeps more idle connections to one host than net/http's
// default of two: an agent talks to few hosts, and to those often.
var sharedTransport = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}()

// New makes a client. It does no I/O.
func New(cfg Config) (*Client, error) {
	base, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	c := &Client{
		base:        *base,
		attempts:    cfg.Attempts,
		timeout:     cfg.Timeout,
		maxResponse: cfg.MaxResponse,
		userAgent:   strings.TrimSpace(DefaultUserAgent + " " + cfg.UserAgent),
		log:         cfg.Logger,
	}
	// The transport alone: redirects and cookies are not for signed calls.
	c.http = sharedTransport
	if cfg.HTTPClient != nil {
		if c.http = cfg.HTTPClient.Transport; c.http == nil {
			c.http = http.DefaultTransport
		}
		if limit := cfg.HTTPClient.Timeout; limit > 0 && (c.timeout <= 0 || limit < c.timeout) {
			c.timeout = limit
		}
	}
	if c.attempts <= 0 {
		c.attempts = defaultAttempts
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.maxResponse <= 0 {
		c.maxResponse = defaultMaxResponse
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Host is the host, with its port if it has one, that calls go to.
func (c *Client) Host() string { return c.base.Host }

func parseEndpoint(endpoint string) (*url.URL, error) {
	text := endpoint
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("acs: endpoint %q: want a host like agentidentity.cn-beijing.aliyuncs.com, or a URL without a path", endpoint)
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback.Is(u.Hostname()):
	default:
		return nil, fmt.Errorf("acs: endpoint %q: want https; plain http is accepted for loopback addresses only", endpoint)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Meta is what an answer says beside its body.
type Meta struct {
	RequestID string
	date      string
}

// Date is the service's clock, zero if it did not say. It is parsed here,
// because few operations ask.
func (m Meta) Date() time.Time {
	date, err := http.ParseTime(m.date)
	if err != nil {
		return time.Time{}
	}
	return date
}

// Call sends req, signed with what cred returns, and decodes the answer into
// out. cred is asked once for each attempt and may be nil for an anonymous
// request. A ctx error is returned as it is; every other one is an [*Error],
// a [*TransportError], or what cred returned.
func (c *Client) Call(ctx context.Context, req *Request, cred func(context.Context) (Credential, error), out any) (Meta, error) {
	pace := c.paces.of(req.Action)
	for attempt, begun := 1, time.Now(); ; attempt++ {
		if err := pace.wait(ctx, req.Action); err != nil {
			return Meta{}, err
		}
		start := time.Now()
		meta, err := c.attempt(ctx, req, cred, out)
		c.trace(ctx, req, attempt, start, meta, err)
		if err == nil {
			pace.accepted()
			return meta, nil
		}
		limit := c.attempts
		if apiErr, ok := errors.AsType[*Error](err); ok && apiErr.Throttled() {
			pace.refused(apiErr.RetryAfter)
			if limit > 1 && time.Since(begun) < throttledFor {
				limit = throttledAttempts
			}
		}
		if ctxErr := ctx.Err(); ctxErr != nil {
			return meta, ctxErr
		}
		if attempt >= limit || !retryable(err, req.Repeatable) {
			return meta, err
		}
		pause, ok := wait(err, attempt+1)
		if !ok || !sleep(ctx, pause) {
			if ctxErr := ctx.Err(); ctxErr != nil {
				return meta, ctxErr
			}
			return meta, err
		}
	}
}

func (c *Client) trace(ctx context.Context, req *Request, attempt int, start time.Time, meta Meta, err error) {
	if !c.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("op", req.Action),
		slog.String("host", c.base.Host),
		slog.Int("attempt", attempt),
		slog.Duration("took", time.Since(start)),
		slog.String("service_request_id", meta.RequestID),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "alibaba cloud call", attrs...)
}

func (c *Client) attempt(ctx context.Context, req *Request, credential func(context.Context) (Credential, error), out any) (Meta, error) {
	var cred Credential
	if !req.Anonymous {
		if credential == nil {
			return Meta{}, ErrNoCredential
		}
		var err error
		if cred, err = credential(ctx); err != nil {
			return Meta{}, err
		}
	}
	attemptCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// failed keeps the limit of an attempt apart from the caller's deadline:
	// only the latter is context.DeadlineExceeded.
	failed := func(err error) error {
		if attemptCtx.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("nothing within %s", c.timeout)
		}
		return &TransportError{Op: req.Action, Host: c.base.Host, Err: err}
	}
	httpReq, err := c.build(attemptCtx, req, cred)
	if err != nil {
		return Meta{}, err
	}
	resp, err := c.http.RoundTrip(httpReq)
	if err != nil {
		return Meta{}, failed(err)
	}
	defer resp.Body.Close()
	body, err := readBody(resp, c.maxResponse+1)
	if err != nil {
		return Meta{}, failed(fmt.Errorf("reading the answer: %w", err))
	}
	meta, err := c.decode(req, resp, body, out)
	if apiErr, ok := errors.AsType[*Error](err); ok {
		apiErr.mask(req.Secrets...)
		apiErr.mask(cred.AccessKeySecret, cred.SecurityToken, cred.BearerToken)
	}
	return meta, err
}

// readBody reads at most limit bytes.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	if n := resp.ContentLength; n >= 0 && n < limit {
		body := make([]byte, n)
		_, err := io.ReadFull(resp.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(resp.Body, limit))
}

func (c *Client) decode(req *Request, resp *http.Response, body []byte, out any) (Meta, error) {
	meta := Meta{RequestID: resp.Header.Get("X-Acs-Request-Id"), date: resp.Header.Get("Date")}
	if int64(len(body)) > c.maxResponse {
		return meta, malformed(req, resp, fmt.Sprintf("the answer is larger than %d bytes", c.maxResponse))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		err := decodeError(req.Action, resp, body)
		meta.RequestID = err.RequestID
		return meta, err
	}
	if out == nil {
		out = &struct{}{}
	}
	if err := json.Unmarshal(body, out); err != nil {
		typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err)
		if !ok || typeErr.Field == "" {
			return meta, malformed(req, resp, "the answer is "+contentKind(resp.Header, body)+", not a JSON object")
		}
		return meta, malformed(req, resp, fmt.Sprintf("the answer does not have the documented shape: field %q is a %s", typeErr.Field, typeErr.Value))
	}
	if meta.RequestID == "" {
		var id struct {
			RequestID string `json:"RequestId"`
		}
		if json.Unmarshal(body, &id) == nil {
			meta.RequestID = id.RequestID
		}
	}
	return meta, nil
}

func malformed(req *Request, resp *http.Response, detail string) *Error {
	return &Error{
		Op: req.Action, StatusCode: resp.StatusCode, Code: CodeMalformed, Message: detail,
		RequestID: resp.Header.Get("X-Acs-Request-Id"), RetryAfter: retryAfter(resp.Header),
	}
}

// blankRequest is copied for each request, because nothing else sets a context.
var blankRequest = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}

// build makes the HTTP request of one attempt: a new date, nonce and
// signature each time.
func (c *Client) build(ctx context.Context, req *Request, cred Credential) (*http.Request, error) {
	f := make(fields, 0, 14)
	f.add("User-Agent", "user-agent", c.userAgent)
	f.add("X-Acs-Action", "x-acs-action", req.Action)
	f.add("X-Acs-Version", "x-acs-version", req.Version)

	var body []byte
	switch {
	case req.JSON != nil:
		body = req.JSON
		f.add("Content-Type", "content-type", jsonType)
	case req.Form != nil:
		body = req.Form.encode()
		f.add("Content-Type", "content-type", formType)
	}

	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, by its contract
	sum := sha256.Sum256(body)
	// One text for the three, which costs one allocation.
	const nonceEnd, hashEnd = 2 * len(random), 2*len(random) + 2*sha256.Size
	var buf [hashEnd + 32]byte
	once := hex.AppendEncode(hex.AppendEncode(buf[:0], random[:]), sum[:])
	once = time.Now().UTC().AppendFormat(once, time.RFC3339)
	values := string(once)
	nonce, hash, date := values[:nonceEnd], values[nonceEnd:hashEnd], values[hashEnd:]

	query := req.Query
	method := req.Method
	if method == "" {
		method = http.MethodPost
	}
	path := req.Path
	if path == "" {
		path = "/"
	}

	if req.Anonymous {
		query = make(Params, len(req.Query)+5)
		maps.Copy(query, req.Query)
		query["Action"] = req.Action
		query["Version"] = req.Version
		query["Format"] = "json"
		query["Timestamp"] = date
		query["SignatureNonce"] = nonce
	} else {
		if cred.BearerToken != "" {
			query = make(Params, len(req.Query)+1)
			maps.Copy(query, req.Query)
			query["SignatureType"] = "BEARERTOKEN"
		}
		f.add("Accept", "accept", "application/json")
		f.add("X-Acs-Date", "x-acs-date", date)
		f.add("X-Acs-Signature-Nonce", "x-acs-signature-nonce", nonce)
		f.add("X-Acs-Content-Sha256", "x-acs-content-sha256", hash)
		sign(&f, method, c.base.Host, path, query.canonical(), hash, cred)
	}

	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("acs: %s: path: %w", req.Action, err)
	}
	u := c.base
	u.Path, u.RawPath = decoded, path
	u.RawQuery = string(query.encode())
	// Made by hand: NewRequest would parse the URL again.
	httpReq := blankRequest.WithContext(ctx)
	httpReq.Method, httpReq.URL, httpReq.Host, httpReq.Header = method, &u, u.Host, f.header()
	if len(body) > 0 {
		httpReq.ContentLength = int64(len(body))
		httpReq.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		httpReq.Body = io.NopCloser(bytes.NewReader(body))
	}
	return httpReq, nil
}
