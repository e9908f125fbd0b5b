// SPDX-License-Identifier: Apache-2.0

// Package web is what the sample's two HTTP services share: request ids, a
// line of log for each request, answers in JSON, and recovery from panics.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// RequestIDHeader carries a request's id from the browser's request to the
// tool's log line.
const RequestIDHeader = "X-Request-Id"

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 20 * time.Second

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

type requestIDKey struct{}

// RequestID is the id of the request that ctx belongs to.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Handle wraps a service: it gives each request an id (its own, if it has a
// plain one), logs a line when it ends, and turns a panic into a log line and
// status 500. Neither paths' queries nor headers are logged: they hold codes.
func Handle(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(RequestIDHeader)
		if !requestIDPattern.MatchString(id) {
			id = randid.Hex(12)
		}
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		w.Header().Set(RequestIDHeader, id)
		rec := &recorder{ResponseWriter: w}
		start := time.Now()
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				log.ErrorContext(r.Context(), "panic", "request_id", id, "path", r.URL.Path, "stack", string(debug.Stack()))
				if rec.status == 0 {
					Fail(rec, http.StatusInternalServerError, "internal error; the log has the details under request id "+id)
				}
			}
			level := slog.LevelInfo
			if rec.status >= 500 {
				level = slog.LevelError
			}
			log.Log(r.Context(), level, "request", "request_id", id, "method", r.Method, "path", r.URL.Path,
				"status", rec.status, "took", time.Since(start).Round(time.Millisecond))
		}()
		next.ServeHTTP(rec, r)
	})
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// JSON answers with a value.
func JSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Fail answers with what is wrong, in the original services' shape.
func Fail(w http.ResponseWriter, status int, detail string) {
	JSON(w, status, map[string]string{"detail": detail})
}

// ReadJSON decodes a JSON body of at most limit bytes into v. If it cannot, it
// answers with why and reports false.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) bool {
	// A form or plain text could come from another site without a preflight.
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		Fail(w, http.StatusUnsupportedMediaType, "send the body as application/json")
		return false
	}
	// A body that trickles in must not hold a connection for ever. The limit
	// ends with the body: the answer may be a long stream.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = rc.SetReadDeadline(time.Time{})
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		Fail(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return false
	}
	if err != nil {
		Fail(w, http.StatusBadRequest, "the body could not be read")
		return false
	}
	if err := json.Unmarshal(body, v); err != nil {
		detail := "the body is not a JSON object"
		if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && typeErr.Field != "" {
			detail = "the field " + strings.TrimPrefix(typeErr.Field, ".") + " has the wrong type"
		}
		Fail(w, http.StatusUnprocessableEntity, detail)
		return false
	}
	return true
}
