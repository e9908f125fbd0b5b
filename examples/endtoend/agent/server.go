// SPDX-License-Identifier: Apache-2.0

// Package agent is the sample's agent service: POST /process answers a user's
// message with a reason-act loop over a model and tools, as a stream of events;
// GET /health says that it runs.
package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/internal/sse"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
)

const (
	maxBody   = 4 << 20
	heartbeat = 15 * time.Second
)

// Config configures a [Server]. All fields but Servers are required.
type Config struct {
	Model llm.Model
	Tools *tools.Set
	// Servers are MCP servers whose tools are offered, too.
	Servers []*mcp.Client
	// Verifier checks the user's ID token that a request carries.
	Verifier *idtoken.Verifier
	// Store keeps the conversations.
	Store store.Store
	Log   *slog.Logger
}

// Server is the agent service. It is safe for concurrent use.
type Server struct {
	cfg     Config
	handler http.Handler

	closing context.Context
	abort   context.CancelFunc

	mu   sync.Mutex // guards busy
	busy map[string]bool
}

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, busy: map[string]bool{}}
	s.closing, s.abort = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /process", s.process)
	mux.HandleFunc("POST /openai/v1/chat/completions", s.complete)
	mux.HandleFunc("DELETE /conversations/{id}", s.forget)
	mux.HandleFunc("POST /consents/{id}/decline", s.decline)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]any{
			"service": "agent-identity-go end-to-end agent", "mode": "daemon_thread",
			"endpoints": map[string]string{"process": "/process", "chat_completions": "/openai/v1/chat/completions", "health": "/health", "readiness": "/readiness"},
		})
	})
	mux.HandleFunc("GET /readiness", s.ready)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]string{"status": "healthy", "mode": "daemon_thread", "runner": "ready"})
	})
	s.handler = web.Handle(cfg.Log, http.NewCrossOriginProtection().Handler(mux))
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Abort ends the answers that are being written: each is closed as failed, and
// says that the service is shutting down.
func (s *Server) Abort() { s.abort() }

// ready says whether users' tokens can be verified: without that, nothing can be
// answered.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.cfg.Verifier.Provider(ctx); err != nil || s.closing.Err() != nil {
		s.log(ctx).Warn("not ready", "error", err)
		web.JSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
		return
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

var sessionIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)

// answerStream is how an answer is written: as the original's events, or as chat
// completions.
type answerStream interface {
	Text(delta string) error
	Reasoning(delta string) error
	CloseText() error
	ToolCalls(calls []protocol.ToolCall) error
	ToolOutput(callID, name, text string) error
	Authorization(a protocol.Authorization) error
	Notice(text string) error
	Complete() error
	Fail(e protocol.Error) error
}

var (
	_ answerStream = (*protocol.Stream)(nil)
	_ answerStream = (*protocol.ChatStream)(nil)
)

func (s *Server) process(w http.ResponseWriter, r *http.Request) {
	var req protocol.Request
	if !web.ReadJSON(w, r, maxBody, &req) {
		return
	}
	a, ok := s.admit(w, r, &req)
	if !ok {
		return
	}
	defer a.leave()
	events := sse.NewWriter(w)
	defer events.Beat(r.Context(), heartbeat)()
	s.answer(r.Context(), a, protocol.NewStream(req.SessionID, events.Data))
}

// complete is process for clients that speak chat completions.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	var body protocol.ChatRequest
	if !web.ReadJSON(w, r, maxBody, &body) {
		return
	}
	req, err := body.Request()
	if err != nil {
		web.Fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if token := bearer(r); token != "" {
		req.UserID = token
	}
	req.SessionID = r.Header.Get(protocol.SessionHeader)
	a, ok := s.admit(w, r, req)
	if !ok {
		return
	}
	defer a.leave()
	if !body.Stream {
		whole := protocol.NewChatStream(body.Model, func([]byte) error { return nil })
		if err := s.answer(r.Context(), a, whole); err != nil {
			web.Fail(w, http.StatusBadGateway, explain(err, web.RequestID(r.Context())).Message)
			return
		}
		web.JSON(w, http.StatusOK, whole.Completion())
		return
	}
	events := sse.NewWriter(w)
	defer events.Beat(r.Context(), heartbeat)()
	_ = s.answer(r.Context(), a, protocol.NewChatStream(body.Model, events.Data))
}

// admitted is a request that may be answered.
type admitted struct {
	key       string
	leave     func()          // gives the chat back
	lost      <-chan struct{} // closed when another process may have the chat; nil if none can
	sessionID string
	caller    identity.Caller
	turns     []protocol.Turn
	links     bool // links for consent are written as messages, too
}

// admit checks a request and takes its chat, or answers with what is wrong.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, req *protocol.Request) (a admitted, ok bool) {
	turns, err := req.Turns()
	if err != nil {
		web.Fail(w, http.StatusUnprocessableEntity, err.Error())
		return a, false
	}
	if req.SessionID == "" {
		req.SessionID = randid.Hex(16)
	}
	if !sessionIDPattern.MatchString(req.SessionID) {
		web.Fail(w, http.StatusUnprocessableEntity, "session_id: want 1 to 128 letters, digits and . _ : @ -, with a letter or digit first")
		return a, false
	}
	user, ok := s.verify(w, r, req.UserID)
	if !ok {
		return a, false
	}
	a = admitted{
		key: memoryKey(user, req.SessionID), sessionID: req.SessionID, turns: turns, links: !req.ReadsAuthorization(),
		caller: identity.Caller{UserToken: identity.NewSecret(req.UserID), State: req.SessionID},
	}
	switch a.leave, a.lost, err = s.enter(r.Context(), a.key); {
	case errors.Is(err, store.ErrHeld):
		web.Fail(w, http.StatusConflict, "this chat is being answered; wait for the answer or stop it")
		return a, false
	case err != nil:
		s.log(r.Context()).Error("taking the chat", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "conversations are not available now; try again")
		return a, false
	}
	return a, true
}

// verify finds the user of an ID token, or answers why there is none.
func (s *Server) verify(w http.ResponseWriter, r *http.Request, token string) (user idtoken.Claims, ok bool) {
	user, err := s.cfg.Verifier.Verify(r.Context(), token)
	switch {
	case errors.Is(err, idtoken.ErrUnavailable):
		s.log(r.Context()).Error("verifying the user's token", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "the user's token cannot be verified now; try again")
		return user, false
	case err != nil:
		s.log(r.Context()).Warn("user's token refused", "error", err)
		web.Fail(w, http.StatusUnauthorized, "user_id: want a valid ID token of the user; sign in again")
		return user, false
	}
	return user, true
}

// bearer is the token of a request's Authorization header; "" if there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// forget deletes a conversation of the user whose ID token is the bearer token.
func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	user, ok := s.verify(w, r, bearer(r))
	if !ok {
		return
	}
	if err := s.cfg.Store.Delete(r.Context(), memoryKey(user, r.PathValue("id"))); err != nil {
		s.log(r.Context()).Error("deleting a conversation", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "conversations are not available now; try again")
		return
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "deleted"})
}

// decline ends the waiting for a consent of the user whose ID token is the
// bearer token.
func (s *Server) decline(w http.ResponseWriter, r *http.Request) {
	token := bearer(r)
	if _, ok := s.verify(w, r, token); !ok {
		return
	}
	if !credentials.DeclineAuthorization(identity.Caller{UserToken: identity.NewSecret(token)}, r.PathValue("id")) {
		web.Fail(w, http.StatusNotFound, "nobody waits for this here")
		return
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "declined"})
}

// answer writes the answer to a request, and closes it as what became of it.
func (s *Server) answer(ctx context.Context, a admitted, stream answerStream) error {
	running, cancel := context.WithCancel(identity.NewContext(ctx, a.caller))
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	if a.lost != nil {
		go func() {
			select {
			case <-a.lost:
				cancel()
			case <-running.Done():
			}
		}()
	}
	run := &run{server: s, stream: stream, links: a.links, log: s.log(ctx).With("session_id", a.sessionID)}
	err := run.answer(running, a.key, a.turns)
	s.finish(ctx, run, err)
	return err
}

// finish closes the stream as what became of the answer.
func (s *Server) finish(ctx context.Context, run *run, err error) {
	switch {
	case err == nil:
		err = run.stream.Complete()
	case s.closing.Err() != nil:
		err = run.stream.Fail(protocol.Error{Code: "SHUTTING_DOWN", Message: "The agent is shutting down. Please try again in a moment."})
	case ctx.Err() != nil:
		run.log.Info("the client left; the answer was stopped")
		return
	default:
		run.log.Error("answer failed", "error", err)
		err = run.stream.Fail(explain(err, web.RequestID(ctx)))
	}
	if err != nil {
		run.log.Info("the client left before the end", "error", err)
	}
}

// explain words a failed answer for the person who asked.
func explain(err error, requestID string) protocol.Error {
	message := "The agent failed. "
	code := "AGENT_ERROR"
	for _, k := range []struct {
		kind       error
		code, text string
	}{
		{llm.ErrInvalidKey, "MODEL_AUTH_FAILED", "The model service does not accept the agent's API key. "},
		{llm.ErrAccessDenied, "MODEL_ACCESS_DENIED", "The agent's API key may not use this model. "},
		{llm.ErrModelNotFound, "MODEL_NOT_FOUND", "The model service does not have the configured model. "},
		{llm.ErrThrottled, "MODEL_THROTTLED", "The model service is busy. Please try again in a minute. "},
		{llm.ErrBilling, "MODEL_QUOTA_EXCEEDED", "The model account has no quota left. "},
		{llm.ErrContentBlocked, "MODEL_CONTENT_BLOCKED", "The model service refused the content. "},
		{llm.ErrNoImages, "MODEL_SEES_NO_IMAGES", "The configured model sees no images: ask in words, or configure one that does, such as qwen3-vl-plus. "},
		{llm.ErrInvalidRequest, "MODEL_INVALID_REQUEST", "The model service did not accept the request. "},
		{llm.ErrUnavailable, "MODEL_UNAVAILABLE", "The model service failed. Please try again. "},
	} {
		if errors.Is(err, k.kind) {
			code, message = k.code, k.text
			break
		}
	}
	return protocol.Error{Code: code, Message: message + "(request id " + requestID + ")"}
}

func (s *Server) log(ctx context.Context) *slog.Logger {
	return web.Logger(ctx, s.cfg.Log)
}

// leaseLife is how long a chat stays taken after the process that answers it
// has died.
const leaseLife = 6 * time.Second

// enter takes a chat; [store.ErrHeld] says that it is being answered. That
// another process held it may be because it has died: that is waited for.
func (s *Server) enter(ctx context.Context, key string) (leave func(), lost <-chan struct{}, err error) {
	if !s.take(key) {
		return nil, nil, store.ErrHeld
	}
	give := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, key)
	}
	if !store.Shared(s.cfg.Store) {
		return give, nil, nil
	}
	for begun := time.Now(); ; {
		release, lost, err := store.Acquire(ctx, s.cfg.Store, key, leaseLife)
		if err == nil {
			return func() { release(); give() }, lost, nil
		}
		if !errors.Is(err, store.ErrHeld) || time.Since(begun) > leaseLife+time.Second {
			give()
			return nil, nil, err
		}
		select {
		case <-time.After(leaseLife / 12):
		case <-ctx.Done():
			give()
			return nil, nil, ctx.Err()
		}
	}
}

// take reports whether the chat was free in this process, and takes it.
func (s *Server) take(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] {
		return false
	}
	s.busy[key] = true
	return true
}

// memoryKey belongs to one chat of one user: whoever sends another user's chat
// id has a chat of their own.
func memoryKey(user idtoken.Claims, sessionID string) string {
	h := sha256.New()
	for _, s := range []string{user.Issuer, user.Subject, sessionID} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return "memory/" + hex.EncodeToString(h.Sum(nil))
}
