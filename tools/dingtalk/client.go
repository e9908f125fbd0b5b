// SPDX-License-Identifier: Apache-2.0

// Package dingtalk reads and overwrites DingTalk documents for tools, with an
// OAuth2 token that the user has granted.
package dingtalk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

const (
	// DefaultEndpoint is DingTalk's open API.
	DefaultEndpoint = "https://api.dingtalk.com"
	// DefaultMaxSize is how much of a document a model gets to see, in bytes.
	DefaultMaxSize = 64 << 10

	maxAnswer = 8 << 20
	// tokenHeader carries the user's access token.
	tokenHeader = "x-acs-dingtalk-access-token"
)

// Config configures a [Client]. The zero value calls DingTalk.
type Config struct {
	// Endpoint is the open API's address. If empty, [DefaultEndpoint]. Plain
	// HTTP is accepted for loopback addresses only.
	Endpoint string
	// Document is used where a call names no document. If empty, calls must.
	Document string
	// MaxSize limits the text of a document, in bytes. If zero,
	// [DefaultMaxSize].
	MaxSize int
	// HTTPClient sends the requests. If nil, one with a limit of 30 seconds.
	// Redirects are not followed: requests carry the user's token.
	HTTPClient *http.Client
}

// Client reads and writes documents. Its methods take the token of the user
// whom a call is for:
//
//	write := credentials.RequiresOAuth2(docs, client.Write)
//	tool := tools.New("write_dingtalk_document", "Overwrites a document.", write)
//
// It is safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// New makes a client. It does no I/O.
func New(cfg Config) (*Client, error) {
	if cfg.Endpoint == "" {
		cfg.Endpoint = DefaultEndpoint
	}
	base, err := url.Parse(cfg.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback.Is(base.Hostname())) {
		return nil, fmt.Errorf("dingtalk: endpoint %q: want https; plain http is accepted for loopback addresses only", cfg.Endpoint)
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	client := http.Client{Timeout: 30 * time.Second}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg, base, &client}, nil
}

// ReadInput names a document.
type ReadInput struct {
	DocumentID string `json:"document_id,omitempty" jsonschema:"the document's id, as in its link; without one the user's usual document"`
}

// Document is a document as a model gets to see it.
type Document struct {
	DocumentID string `json:"document_id"`
	Text       string `json:"text"`
	// Truncated says that Text is not all of it.
	Truncated bool `json:"truncated,omitempty"`
}

// Read reads a document's text.
func (c *Client) Read(ctx context.Context, token credentials.OAuth2Token, in ReadInput) (Document, error) {
	id, operator, err := c.prepare(ctx, token, in.DocumentID)
	if err != nil {
		return Document{}, err
	}
	var out struct {
		Result struct {
			Data []map[string]json.RawMessage `json:"data"`
		} `json:"result"`
	}
	err = c.call(ctx, token, http.MethodGet, "/v1.0/doc/suites/documents/"+url.PathEscape(id)+"/blocks", url.Values{"operatorId": {operator}}, nil, &out)
	if err != nil {
		return Document{}, err
	}
	var text strings.Builder
	for _, block := range out.Result.Data {
		text.WriteString(blockText(block) + "\n")
	}
	d := Document{DocumentID: id, Text: strings.TrimRight(text.String(), "\n")}
	if d.Truncated = len(d.Text) > c.cfg.MaxSize; d.Truncated {
		cut := c.cfg.MaxSize
		for cut > 0 && !utf8.RuneStart(d.Text[cut]) {
			cut--
		}
		d.Text = d.Text[:cut]
	}
	return d, nil
}

// blockText is the text of a block: it stands in the member that is named after
// the block's type.
func blockText(block map[string]json.RawMessage) string {
	var kind string
	_ = json.Unmarshal(block["blockType"], &kind)
	var content struct {
		Text  string          `json:"text"`
		Level json.RawMessage `json:"level"`
	}
	if json.Unmarshal(block[kind], &content) != nil {
		return ""
	}
	if kind == "heading" {
		level := 1
		_, _ = fmt.Sscan(strings.Trim(string(content.Level), `"heading-`), &level)
		return strings.Repeat("#", min(max(level, 1), 6)) + " " + content.Text
	}
	return content.Text
}

// WriteInput says what a document is to hold.
type WriteInput struct {
	Content    string `json:"content"               jsonschema:"the whole new text of the document, as Markdown"`
	DocumentID string `json:"document_id,omitempty" jsonschema:"the document's id, as in its link; without one the user's usual document"`
}

// Receipt says what was written.
type Receipt struct {
	DocumentID string `json:"document_id"`
	Written    int    `json:"written"` // bytes
}

// Write overwrites a whole document.
func (c *Client) Write(ctx context.Context, token credentials.OAuth2Token, in WriteInput) (Receipt, error) {
	id, operator, err := c.prepare(ctx, token, in.DocumentID)
	if err != nil {
		return Receipt{}, err
	}
	body, err := json.Marshal(map[string]string{"content": in.Content, "dataType": "markdown"})
	if err != nil {
		return Receipt{}, fmt.Errorf("dingtalk: %w", err)
	}
	err = c.call(ctx, token, http.MethodPost, "/v1.0/doc/suites/documents/"+url.PathEscape(id)+"/overwriteContent", url.Values{"operatorId": {operator}}, body, nil)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{DocumentID: id, Written: len(in.Content)}, nil
}

// prepare finds out which document and, since documents ask for the operator's
// union id, whose token this is.
func (c *Client) prepare(ctx context.Context, token credentials.OAuth2Token, id string) (document, operator string, err error) {
	if id == "" {
		id = c.cfg.Document
	}
	if id == "" {
		return "", "", errors.New("dingtalk: the document is not known: name its document_id")
	}
	if id == "." || id == ".." {
		return "", "", fmt.Errorf("dingtalk: document_id %q is no id", id) // paths would swallow it
	}
	var me struct {
		UnionID string `json:"unionId"`
	}
	if err := c.call(ctx, token, http.MethodGet, "/v1.0/contact/users/me", nil, nil, &me); err != nil {
		return "", "", err
	}
	if me.UnionID == "" {
		return "", "", errors.New("dingtalk: the service does not say who the token's user is")
	}
	return id, me.UnionID, nil
}

// Error is an answer of DingTalk that says no.
type Error struct {
	StatusCode int
	Code       string
	Message    string
	RequestID  string
}

func (e *Error) Error() string {
	return fmt.Sprintf("dingtalk: status %d, %.100q: %.500q, request id %.100q", e.StatusCode, e.Code, e.Message, e.RequestID)
}

func (c *Client) call(ctx context.Context, token credentials.OAuth2Token, method, path string, query url.Values, body []byte, out any) error {
	u := *c.base
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(u.Scheme+"://"+u.Host+u.Path, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("dingtalk: %w", err)
	}
	req.URL.RawQuery = u.RawQuery
	req.Header.Set(tokenHeader, token.AccessToken.Reveal())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		return fmt.Errorf("dingtalk: no answer: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("dingtalk: no answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		e := &Error{StatusCode: resp.StatusCode}
		var fail struct{ Code, Message, RequestID string }
		if json.Unmarshal(b, &fail) == nil {
			e.Code, e.Message, e.RequestID = fail.Code, fail.Message, fail.RequestID
		}
		if resp.StatusCode == http.StatusUnauthorized || e.Code == "InvalidAuthentication" {
			return fmt.Errorf("%w: %w", credentials.ErrRejected, e)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return errors.New("dingtalk: the answer is not the JSON that is documented")
	}
	return nil
}
