// SPDX-License-Identifier: Apache-2.0

// Package dingtalk is the local cloud's DingTalk: the current user, and reading
// and overwriting documents, over the open API's paths, header and error
// shapes (contact_1.0 and doc_1.0).
package dingtalk

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// Service is the local DingTalk.
type Service struct {
	*core.Base
	OAuth *oauth.Server

	mu        sync.Mutex // guards the rest
	apps      []string   // OAuth clients whose tokens count here
	documents map[string]*document
}

type document struct {
	users   []string
	content string
}

// New makes a service without documents.
func New(base *core.Base, auth *oauth.Server) *Service {
	return &Service{Base: base, OAuth: auth, documents: map[string]*document{}}
}

// AddApp lets access tokens of an OAuth client count here.
func (s *Service) AddApp(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps = append(s.apps, clientID)
}

// AddDocument adds a document that users, named by subject, may read and write.
func (s *Service) AddDocument(id, content string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents[id] = &document{users, content}
}

// Document returns a document's content.
func (s *Service) Document(id string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.documents[id]
	if !ok {
		return "", false
	}
	return d.content, true
}

// Routes adds the service's endpoints to mux.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1.0/contact/users/{id}", s.serve("GetUser", s.user))
	mux.HandleFunc("GET /v1.0/doc/suites/documents/{id}/blocks", s.serve("DocBlocksQuery", s.read))
	mux.HandleFunc("POST /v1.0/doc/suites/documents/{id}/overwriteContent", s.serve("DocUpdateContent", s.overwrite))
}

// failure is an answer of DingTalk that says no.
type failure struct {
	status        int
	code, message string
}

func unionID(user string) string { return "union-" + user }

// serve checks the access token and answers with what handle says.
func (s *Service) serve(op string, handle func(r *http.Request, user string) (any, *failure)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, f := s.authenticate(r)
		var answer any
		fault := s.Faults.Take(op)
		if fault != nil {
			status, done := fault.Play(w, r)
			if done {
				return
			}
			if status != 0 {
				f = &failure{status, fault.Code, "a fault that a test asked for"}
			}
		}
		if f == nil {
			answer, f = handle(r, user)
		}
		status, code := http.StatusOK, ""
		if f != nil {
			status, code = f.status, f.code
			answer = map[string]string{"code": f.code, "message": f.message, "requestid": strings.ToUpper(randid.UUID())}
		}
		s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "dingtalk", Op: op, User: user, Target: r.PathValue("id"), Status: status, Code: code})
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (s *Service) authenticate(r *http.Request) (user string, f *failure) {
	token := r.Header.Get("X-Acs-Dingtalk-Access-Token")
	if token == "" {
		return "", &failure{http.StatusBadRequest, "MissingAccessToken", "the header x-acs-dingtalk-access-token is missing"}
	}
	claims, err := s.OAuth.VerifyAccess(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || !slices.Contains(s.apps, claims.ClientID) {
		return "", &failure{http.StatusUnauthorized, "InvalidAuthentication", "the access token is not valid, or not one of a DingTalk application: 不合法的access_token"}
	}
	return claims.Subject, nil
}

func (s *Service) user(r *http.Request, user string) (any, *failure) {
	if id := r.PathValue("id"); id != "me" && id != unionID(user) {
		return nil, &failure{http.StatusForbidden, "Forbidden.AccessDenied", "the access token is another user's"}
	}
	u, _ := s.User(user)
	return map[string]any{"nick": u.Name, "email": u.Email, "unionId": unionID(user), "openId": "open-" + user}, nil
}

// document finds the document of a request, and checks that its operator is the
// token's user and may use it. It is called with s.mu held.
func (s *Service) document(r *http.Request, user string) (*document, *failure) {
	if operator := r.URL.Query().Get("operatorId"); operator != unionID(user) {
		return nil, &failure{http.StatusForbidden, "Forbidden.AccessDenied", "operatorId is not the union id of the access token's user"}
	}
	d, ok := s.documents[r.PathValue("id")]
	switch {
	case !ok:
		return nil, &failure{http.StatusNotFound, "docNotFound", "there is no such document"}
	case !slices.Contains(d.users, user):
		return nil, &failure{http.StatusForbidden, "forbidden.accessDenied", "the user may not use this document"}
	}
	return d, nil
}

func (s *Service) read(r *http.Request, user string) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, f := s.document(r, user)
	if f != nil {
		return nil, f
	}
	blocks := []any{}
	for line := range strings.Lines(d.content) {
		line = strings.TrimSuffix(line, "\n")
		block := map[string]any{"id": randid.Hex(8), "index": len(blocks), "blockType": "paragraph", "paragraph": map[string]any{"text": line}}
		if text := strings.TrimLeft(line, "#"); len(text) < len(line) && strings.HasPrefix(text, " ") {
			block["blockType"] = "heading"
			delete(block, "paragraph")
			block["heading"] = map[string]any{"level": len(line) - len(text), "text": text[1:]}
		}
		blocks = append(blocks, block)
	}
	return map[string]any{"result": map[string]any{"data": blocks}, "success": true}, nil
}

func (s *Service) overwrite(r *http.Request, user string) (any, *failure) {
	var body struct {
		Content  *string `json:"content"`
		DataType string  `json:"dataType"`
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil || body.Content == nil {
		return nil, &failure{http.StatusBadRequest, "paramError", "want an object with content and dataType"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, f := s.document(r, user)
	if f != nil {
		return nil, f
	}
	d.content = *body.Content
	return map[string]any{"result": map[string]any{"data": map[string]any{}}, "success": true}, nil
}
