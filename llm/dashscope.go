// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// Defaults of [Config].
const (
	DefaultBaseURL = BaseURLBeijing
	DefaultModel   = "qwen3-max"

	defaultRetries = 2
	idleTimeout    = 2 * time.Minute
	maxAnswer      = 16 << 20
)

// Addresses of the native API by region. A key belongs to one of them; at
// another it is refused. Regions whose address has the id of the workspace in it
// are https://{workspace}.{region}.maas.aliyuncs.com/api/v1.
const (
	BaseURLBeijing   = "https://dashscope.aliyuncs.com/api/v1"
	BaseURLSingapore = "https://dashscope-intl.aliyuncs.com/api/v1"
	BaseURLVirginia  = "https://dashscope-us.aliyuncs.com/api/v1"
)

// Config configures a [Client].
type Config struct {
	// Model is the model's name. If empty, [DefaultModel]. Names that begin
	// with qvq or contain -vl are models that see images; they are asked by
	// the multimodal API.
	Model string
	// APIKey is asked for each request. Required.
	APIKey func(context.Context) (identity.Secret, error)
	// BaseURL is the address of the native API. If empty, [DefaultBaseURL].
	// Keys belong to a region; other regions have other addresses. Plain HTTP
	// is accepted for loopback addresses only.
	BaseURL string
	// Workspace is the id of the workspace to use, or "".
	Workspace string
	// HTTPClient sends the requests. If nil, http.DefaultClient. Redirects
	// are not followed: they would take the key along.
	HTTPClient *http.Client
	// Retries is how often a request is sent again after throttling, a server
	// error or a failed connection, before the first byte of an answer. If
	// nil, 2.
	Retries *int
}

// StaticKey is an API key that is always the same.
func StaticKey(key identity.Secret) func(context.Context) (identity.Secret, error) {
	return func(context.Context) (identity.Secret, error) { return key, nil }
}

// Client is a model of DashScope. It is safe for concurrent use.
type Client struct {
	cfg     Config
	url     string
	http    http.Client
	retries int
}

var _ Model = (*Client)(nil)

// New makes a client. It does no I/O.
func New(cfg Config) (*Client, error) {
	if cfg.APIKey == nil {
		return nil, errors.New("llm: Config.APIKey is required; use llm.StaticKey for a plain key")
	}
	if cfg.Model == "" {
		cfg.Model = DefaultModel
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("llm: Config.BaseURL: want a URL such as %s", DefaultBaseURL)
	}
	if u.Scheme == "http" && !loopback.Is(u.Hostname()) {
		return nil, fmt.Errorf("llm: Config.BaseURL: want https for %s: requests carry the API key", u.Host)
	}
	service := "/services/aigc/text-generation/generation"
	if seesImages(cfg.Model) {
		service = "/services/aigc/multimodal-generation/generation"
	}
	c := &Client{cfg: cfg, url: strings.TrimRight(cfg.BaseURL, "/") + service, retries: defaultRetries}
	if cfg.HTTPClient != nil {
		c.http = *cfg.HTTPClient
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if cfg.Retries != nil {
		c.retries = max(0, *cfg.Retries)
	}
	return c, nil
}

// Stream sends req and returns the turn piece by piece. The request is sent
// when the loop starts, once each time the sequence is ranged over; leaving
// the loop cancels it. An error is the last element: an [*Error] from the
// service, an error that matches [ErrUnavailable] if no answer or no whole one
// arrived, or ctx's error.
func (c *Client) Stream(ctx context.Context, req *Request) iter.Seq2[*Chunk, error] {
	return func(yield func(*Chunk, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := c.send(ctx, req, true)
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		stalled := time.AfterFunc(idleTimeout, func() { cancel(errStalled) })
		defer stalled.Stop()
		finished := false
		for ev, err := range sse.Read(resp.Body, 0) {
			stalled.Reset(idleTimeout)
			if err != nil {
				yield(nil, c.broken(ctx, err))
				return
			}
			if ev.Data == nil {
				continue // a sign of life
			}
			chunk, err := decodeEvent(ev, resp.Header)
			finished = finished || err == nil && chunk.FinishReason != ""
			if !yield(chunk, err) || err != nil {
				return
			}
		}
		if !finished {
			yield(nil, c.broken(ctx, io.ErrUnexpectedEOF))
		}
	}
}

var errStalled = fmt.Errorf("nothing arrived for %s", idleTimeout)

// broken is the error of a stream that stopped.
func (c *Client) broken(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == errStalled:
		return &transportError{errStalled}
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &transportError{fmt.Errorf("the stream was cut short: %w", err)}
}

// Complete sends req and returns the whole turn at once, without streaming.
func (c *Client) Complete(ctx context.Context, req *Request) (*Response, error) {
	resp, err := c.send(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	chunk, err := decodeChunk(body)
	if err != nil {
		return nil, err
	}
	var m Merger
	if err := m.Add(chunk); err != nil {
		return nil, err
	}
	return m.Response(), nil
}

// send posts the request until an answer begins.
func (c *Client) send(ctx context.Context, req *Request, stream bool) (*http.Response, error) {
	body, err := c.encode(req, stream)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		resp, err := c.post(ctx, body, stream)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		pause := 200*time.Millisecond<<min(attempt, 5) + rand.N(200*time.Millisecond)
		apiErr, ok := errors.AsType[*Error](err)
		if ok && apiErr.RetryAfter > 0 {
			pause = apiErr.RetryAfter
		}
		if attempt >= c.retries || ok && !apiErr.Temporary() || !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrThrottled) || pause > 20*time.Second {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Client) post(ctx context.Context, body []byte, stream bool) (*http.Response, error) {
	key, err := c.cfg.APIKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("llm: getting the API key: %w", err)
	}
	if key.IsZero() {
		return nil, errors.New("llm: the API key is empty; set DASHSCOPE_API_KEY or what Config.APIKey reads")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key.Reveal())
	req.Header.Set("Content-Type", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("X-Dashscope-Sse", "enable")
		req.Header.Set("X-Accel-Buffering", "no")
	}
	if c.cfg.Workspace != "" {
		req.Header.Set("X-Dashscope-Workspace", c.cfg.Workspace)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err
		}
		return nil, &transportError{err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, &transportError{err}
	}
	return nil, decodeError(resp.StatusCode, resp.Header, text)
}

// decodeEvent reads one event of a stream: a piece, or a failure within it.
func decodeEvent(ev sse.Event, header http.Header) (*Chunk, error) {
	status := http.StatusOK
	e := &Error{StatusCode: status}
	e.readStatus(ev.Comment)
	if ev.Name == "error" || e.StatusCode != status {
		if e.StatusCode == status {
			e.StatusCode = http.StatusInternalServerError
		}
		failed := decodeError(e.StatusCode, header, ev.Data)
		return nil, failed
	}
	return decodeChunk(ev.Data)
}

func decodeChunk(data []byte) (*Chunk, error) {
	var b struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
		Output    struct {
			Choices []struct {
				Message struct {
					Content          json.RawMessage `json:"content"`
					ReasoningContent string          `json:"reasoning_content"`
					ToolCalls        []wireCall      `json:"tool_calls"`
				} `json:"message"`
				FinishReason string `json:"finish_reason"`
			} `json:"choices"`
		} `json:"output"`
		Usage *struct {
			Usage
			PromptDetails struct {
				CachedTokens int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
			OutputDetails struct {
				ReasoningTokens int `json:"reasoning_tokens"`
			} `json:"output_tokens_details"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, &transportError{errors.New("the answer does not have the documented shape")}
	}
	if b.Code != "" {
		return nil, &Error{StatusCode: http.StatusInternalServerError, Code: b.Code, Message: b.Message, RequestID: b.RequestID}
	}
	chunk := &Chunk{RequestID: b.RequestID}
	if b.Usage != nil {
		u := b.Usage.Usage
		u.CachedTokens, u.ReasoningTokens = b.Usage.PromptDetails.CachedTokens, b.Usage.OutputDetails.ReasoningTokens
		chunk.Usage = &u
	}
	if len(b.Output.Choices) == 0 {
		return chunk, nil
	}
	choice := b.Output.Choices[0]
	chunk.Content, chunk.Reasoning = contentText(choice.Message.Content), choice.Message.ReasoningContent
	if choice.FinishReason != "null" { // a text until the end
		chunk.FinishReason = choice.FinishReason
	}
	for i, call := range choice.Message.ToolCalls {
		d := ToolCallDelta{Index: i, ID: call.ID, Name: call.Function.Name, Arguments: call.Function.Arguments}
		if call.Index != nil {
			d.Index = *call.Index
		}
		chunk.ToolCalls = append(chunk.ToolCalls, d)
	}
	return chunk, nil
}

// contentText reads content that is a text or a list of parts.
func contentText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(raw, &parts)
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}
