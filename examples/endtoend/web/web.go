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

// Names of the headers of W3C Trace Context.
const (
	traceParent = "Traceparent"
	traceState  = "Tracestate"
)

// traceParentPattern is version 00; of a later one the same fields come first.
var traceParentPattern = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)

// maxTraceState bounds what is passed on without being read.
const maxTraceState = 512

type requestKey struct{}

// request is what is passed on with everything that is done for a request.
type request struct{ id, traceParent, traceState string }

func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

// RequestID is the id of the request that ctx belongs to.
func RequestID(ctx context.Context) string { return requestOf(ctx).id }

// TraceID is the trace that the request belongs to, by its traceparent; "" if it
// has none.
func TraceID(ctx context.Context) string {
	m := traceParentPattern.FindStringSubmatch(requestOf(ctx).traceParent)
	if m == nil {
		return ""
	}
	return m[1]
}

// Transport passes a request's id and trace on, unchanged (W3C Trace Context
// 3.2), so that tracing before and behind us joins up.
type Transport struct {
	// Base sends the requests. If nil, http.DefaultTransport.
	Base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	q := requestOf(r.Context())
	if q.id == "" {
		return base.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set(RequestIDHeader, q.id)
	if q.traceParent != "" {
		r.Header.Set(traceParent, q.traceParent)
		if q.traceState != "" {
			r.Header.Set(traceState, q.traceState)
		}
	}
	return base.RoundTrip(r)
}

// Logger is log with the request's id and trace on every line.
func Logger(ctx context.Context, log *slog.Logger) *slog.Logger {
	log = log.With("request_id", RequestID(ctx))
	if trace := TraceID(ctx); trace != "" {
		log = log.With("trace_id", trace)
	}
	return log
}

// LogHandler adds the request's id and trace to lines that are logged with its
// ctx, such as those of the SDK.
type LogHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h LogHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
		if trace := TraceID(ctx); trace != "" {
			record.AddAttrs(slog.String("trace_id", trace))
		}
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return LogHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h LogHandler) WithGroup(name string) slog.Handler { return LogHandler{h.Handler.WithGroup(name)} }

// Handle wraps a service, whose log has a [LogHandler]: it gives each request an
// id (its own, if it has a plain one), logs a line when it ends, and turns a
// panic into a log line and status 500. Neither paths' queries nor headers are logged: they hold codes.
func Handle(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(RequestIDHeader)
		if !requestIDPattern.MatchString(id) {
			id = randid.Hex(12)
		}
		q := request{id: id}
		if parent := r.Header.Get(traceParent); len(parent) <= maxTraceState && traceParentPattern.MatchString(parent) {
			q.traceParent = parent
			if state := strings.Join(r.Header.Values(traceState), ","); len(state) <= maxTraceState {
				q.traceState = state
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
		w.Header().Set(RequestIDHeader, id)
		rec := &recorder{ResponseWriter: w}
		start := time.Now()
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				log.ErrorContext(r.Context(), "panic", "path", r.URL.Path, "stack", string(debug.Stack()))
				if rec.status == 0 {
					Fail(rec, http.StatusInternalServerError, "internal error; the log has the details under request id "+id)
				}
			}
			level := slog.LevelInfo
			if rec.status >= 500 {
				level = slog.LevelError
			}
			log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path,
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
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
	} else {
		// The deadline stays: the server would wait for the rest of the body
		// before it answers.
		w.Header().Set("Connection", "close")
	}
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
