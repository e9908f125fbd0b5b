// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// Kinds of failure to branch on with errors.Is.
var (
	// ErrInvalidKey: the API key is wrong, or belongs to another region.
	ErrInvalidKey = errors.New("llm: API key not accepted")
	// ErrAccessDenied: the key may not use this model or workspace.
	ErrAccessDenied = errors.New("llm: access denied")
	// ErrModelNotFound: there is no such model or workspace.
	ErrModelNotFound = errors.New("llm: model not found")
	// ErrThrottled: too many requests or tokens; try later.
	ErrThrottled = errors.New("llm: throttled")
	// ErrBilling: the account does not pay for this; trying again is no use.
	ErrBilling = errors.New("llm: quota or billing")
	// ErrContentBlocked: moderation refused the input or the output.
	ErrContentBlocked = errors.New("llm: content blocked by moderation")
	// ErrNoImages: the request has images, and the model sees none.
	ErrNoImages = errors.New("llm: the model sees no images")
	// ErrInvalidRequest: the request is wrong.
	ErrInvalidRequest = errors.New("llm: invalid request")
	// ErrUnavailable: the service failed, or no answer arrived.
	ErrUnavailable = errors.New("llm: service unavailable")
)

// Error is a failure that the service reports, as an answer or within a
// stream. Codes are the service's, native or OpenAI-compatible.
type Error struct {
	StatusCode int
	Code       string
	Message    string
	RequestID  string
	RetryAfter time.Duration // how long the service asked to wait, or 0
}

func (e *Error) Error() string {
	message := e.Message
	if len(message) > 1<<10 {
		message = message[:1<<10] + "…"
	}
	text := fmt.Sprintf("llm: status %d, code %.100q: %q", e.StatusCode, e.Code, message)
	if e.RequestID != "" {
		text += fmt.Sprintf(", request id %.100q", e.RequestID)
	}
	return text
}

// kinds maps codes, in lower case and without separators, to what they mean.
// What is not listed goes by the HTTP status.
var kinds = map[string]error{
	"invalidapikey": ErrInvalidKey, "notauthorized": ErrInvalidKey,
	"accessdenied": ErrAccessDenied, "accessdenied.unpurchased": ErrAccessDenied, "model.accessdenied": ErrAccessDenied,
	"app.accessdenied": ErrAccessDenied, "workspace.accessdenied": ErrAccessDenied,
	"modelnotfound": ErrModelNotFound, "modelnotsupported": ErrModelNotFound, "workspacenotfound": ErrModelNotFound,
	"arrearage": ErrBilling, "commoditynotpurchased": ErrBilling, "prepaidbilloverdue": ErrBilling,
	"postpaidbilloverdue": ErrBilling, "allocationquota.freetieronly": ErrBilling,
	"datainspectionfailed": ErrContentBlocked, "customroleblocked": ErrContentBlocked, "ipinfringementsuspect": ErrContentBlocked,
	"limitrequests": ErrThrottled, "limitburstrate": ErrThrottled, "insufficientquota": ErrThrottled,
	"requesttimeout": ErrUnavailable, "responsetimeout": ErrUnavailable, "systemerror": ErrUnavailable,
	"modelservicefailed": ErrUnavailable, "modelservingerror": ErrUnavailable, "modelunavailable": ErrUnavailable,
}

func (e *Error) kind() error {
	code := strings.ToLower(strings.NewReplacer("_", "", " ", "").Replace(e.Code))
	if k, ok := kinds[code]; ok {
		return k
	}
	switch {
	case strings.HasPrefix(code, "throttling"):
		return ErrThrottled
	case strings.HasPrefix(code, "internalerror"):
		return ErrUnavailable
	}
	switch s := e.StatusCode; {
	case s == http.StatusUnauthorized:
		return ErrInvalidKey
	case s == http.StatusForbidden:
		return ErrAccessDenied
	case s == http.StatusNotFound:
		return ErrModelNotFound
	case s == http.StatusTooManyRequests:
		return ErrThrottled
	case s == http.StatusRequestTimeout, s >= 500:
		return ErrUnavailable
	}
	return ErrInvalidRequest
}

// Is makes errors.Is find the kinds of failure.
func (e *Error) Is(target error) bool { return e.kind() == target }

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	k := e.kind()
	return k == ErrThrottled || k == ErrUnavailable
}

// transportError reports that no answer, or no whole one, arrived.
type transportError struct{ err error }

func (e *transportError) Error() string {
	return "llm: no answer from the model service: " + e.err.Error()
}
func (e *transportError) Unwrap() error        { return e.err }
func (e *transportError) Is(target error) bool { return target == ErrUnavailable }

// decodeError reads every shape of failure: a JSON object, an OpenAI-style
// one, or server-sent events that say they are JSON.
func decodeError(status int, header http.Header, body []byte) *Error {
	e := &Error{StatusCode: status, RequestID: header.Get("X-Request-Id")}
	if n, err := strconv.Atoi(header.Get("Retry-After")); err == nil && n > 0 {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	if e.read(body) {
		return e
	}
	for ev, err := range sse.Read(bytes.NewReader(append(body, "\n\n"...)), 0) {
		if err != nil {
			break
		}
		if e.read(ev.Data) {
			e.readStatus(ev.Comment)
			return e
		}
	}
	e.Message = http.StatusText(status) + ": the answer is not an error of the model service"
	return e
}

func (e *Error) read(data []byte) bool {
	var b struct {
		Code      json.RawMessage `json:"code"`
		Message   string          `json:"message"`
		RequestID string          `json:"request_id"`
		Error     *struct {
			Code    json.RawMessage `json:"code"`
			Type    string          `json:"type"`
			Message string          `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(data, &b) != nil {
		return false
	}
	if b.RequestID != "" {
		e.RequestID = b.RequestID
	}
	if b.Error != nil {
		e.Code, e.Message = text(b.Error.Code), b.Error.Message
		if e.Code == "" {
			e.Code = b.Error.Type
		}
		return true
	}
	e.Code, e.Message = text(b.Code), b.Message
	return e.Code != "" || e.Message != ""
}

// readStatus reads the comment :HTTP_STATUS/400 of a stream.
func (e *Error) readStatus(comment string) {
	if status, ok := strings.CutPrefix(comment, "HTTP_STATUS/"); ok {
		if n, err := strconv.Atoi(status); err == nil && n >= 400 && n <= 599 {
			e.StatusCode = n
		}
	}
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}
