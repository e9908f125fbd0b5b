// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CodeMalformed is the Code of an [Error] whose answer could not be read: not
// JSON, cut short, or above the size limit.
const CodeMalformed = "MalformedResponse"

// ErrNoCredential reports a signed call without a credential to sign with.
var ErrNoCredential = errors.New("acs: no credential to sign with")

// Error is the service's refusal, or an answer that could not be read.
type Error struct {
	Op         string // operation
	StatusCode int    // HTTP status
	Code       string // "" when the answer names none
	Message    string
	RequestID  string
	Recommend  string // link to a troubleshooting page
	// Data is the part of the answer that says which permission is missing.
	AccessDeniedDetail map[string]any
	// RetryAfter is how long the service asks to wait, 0 if it does not.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("acs: %s: status %d, code %q: %q", e.Op, e.StatusCode, e.Code, e.Message)
}

// mask takes secrets out of what the service said.
func (e *Error) mask(secrets ...string) {
	for _, secret := range secrets {
		if len(secret) < 8 {
			continue // short ones are part of ordinary words
		}
		for _, form := range []string{secret, url.QueryEscape(secret)} {
			e.Message = strings.ReplaceAll(e.Message, form, "[REDACTED]")
			e.Code = strings.ReplaceAll(e.Code, form, "[REDACTED]")
		}
	}
}

// Throttled reports whether the service refused the call for its rate, so
// that it did not act on it.
func (e *Error) Throttled() bool {
	return e.StatusCode == http.StatusTooManyRequests || strings.Contains(e.Code, "Throttling")
}

// TransportError reports that no answer arrived. It names the host and the
// operation, never the URL.
type TransportError struct {
	Op, Host string
	Err      error
}

func (e *TransportError) Error() string {
	return fmt.Sprintf("acs: %s: no answer from %s: %v", e.Op, e.Host, e.Err)
}

func (e *TransportError) Unwrap() error { return e.Err }

// errorBody is a failed answer. The service writes the names with capitals,
// some gateways in lower case; encoding/json matches both.
type errorBody struct {
	XMLName            xml.Name        `json:"-"                  xml:"Error"`
	Code               json.RawMessage `json:"Code"               xml:"-"`
	XMLCode            string          `json:"-"                  xml:"Code"`
	Message            string          `json:"Message"            xml:"Message"`
	RequestID          string          `json:"RequestId"          xml:"RequestId"`
	Recommend          string          `json:"Recommend"          xml:"Recommend"`
	Description        string          `json:"Description"        xml:"-"`
	AccessDeniedDetail map[string]any  `json:"AccessDeniedDetail" xml:"-"`
}

// decodeError makes an Error from an answer that is not a success.
func decodeError(op string, resp *http.Response, body []byte) *Error {
	e := &Error{
		Op:         op,
		StatusCode: resp.StatusCode,
		RequestID:  resp.Header.Get("X-Acs-Request-Id"),
		RetryAfter: retryAfter(resp.Header),
	}
	var b errorBody
	var err error
	if mediaType := resp.Header.Get("Content-Type"); strings.HasPrefix(mediaType, "text/xml") {
		err = xml.Unmarshal(body, &b)
		e.Code = b.XMLCode
	} else {
		err = json.Unmarshal(body, &b)
		e.Code = codeText(b.Code)
	}
	if err != nil {
		// A proxy's page rather than the service's answer: its text helps
		// nobody, what it is does.
		e.Message = fmt.Sprintf("%s: the answer is %s, not an error of the service",
			http.StatusText(resp.StatusCode), contentKind(resp.Header, body))
		return e
	}
	e.Message = b.Message
	if e.Message == "" {
		e.Message = b.Description
	}
	if b.RequestID != "" {
		e.RequestID = b.RequestID
	}
	e.Recommend = b.Recommend
	e.AccessDeniedDetail = b.AccessDeniedDetail
	return e
}

// codeText reads a code that is text, a number or absent.
func codeText(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func contentKind(h http.Header, body []byte) string {
	if len(bytes.TrimSpace(body)) == 0 {
		return "empty"
	}
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	if mediaType == "" {
		return "of unknown type"
	}
	return fmt.Sprintf("%q", mediaType)
}

// retryAfter reads Retry-After (seconds or a date, RFC 9110 10.2.3) and
// x-acs-retry-after (milliseconds).
func retryAfter(h http.Header) time.Duration {
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
		if t, err := http.ParseTime(v); err == nil {
			return max(0, time.Until(t))
		}
	}
	if n, err := strconv.ParseInt(h.Get("X-Acs-Retry-After"), 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Millisecond
	}
	return 0
}
