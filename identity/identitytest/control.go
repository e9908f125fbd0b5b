// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
)

// controlRequest is the JSON body of every request under /control/. Each
// operation reads the fields that its method of [Server] takes.
type controlRequest struct {
	Duration   string // for advance, and the faults throttle and delay: "90s"
	Op         string // for fault; "" for all
	Fault      string // throttle, error, delay, hang, drop, malformed, html, empty, expired
	Status     int    // for the faults error and html
	Code       string // for the fault error
	Times      int    // for fault; 0 for good
	User       string
	Provider   string
	Decision   Decision
	SessionURI string
}

// ControlToken is the bearer token of the cloud's control interface, which
// offers what a test in this process does to programs in others and in other
// languages. Requests are POST with a JSON object:
//
//	/control/advance       {"Duration": "5m"}
//	/control/fault         {"Op": "GetResourceAPIKey", "Fault": "throttle", "Duration": "1s", "Times": 2}
//	/control/clear-faults  {}
//	/control/script        {"User": "alice", "Decision": "allow"}
//	/control/revoke        {"User": "alice", "Provider": "test-oauth2"}
//	/control/fail-session  {"SessionURI": "urn:…"}
//	/control/id-token      {"User": "alice"}
//	/control/calls         {}
func (s *Server) ControlToken() identity.Secret { return s.controlToken }

// control serves /control/.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	fail := func(status int, format string, args ...any) {
		answer(status, map[string]string{"error": fmt.Sprintf(format, args...)})
	}
	given := identity.NewSecret(r.Header.Get("Authorization"))
	if !given.Equal(identity.NewSecret("Bearer " + s.controlToken.Reveal())) {
		fail(http.StatusUnauthorized, "send the control token that was printed at the start as a bearer token")
		return
	}
	if r.Method != http.MethodPost {
		fail(http.StatusMethodNotAllowed, "want POST")
		return
	}
	var req controlRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		fail(http.StatusBadRequest, "the body is not the JSON object that this takes: %v", err)
		return
	}
	d := time.Duration(0)
	if req.Duration != "" {
		var err error
		if d, err = time.ParseDuration(req.Duration); err != nil {
			fail(http.StatusBadRequest, "Duration %.40q: want one such as 90s", req.Duration)
			return
		}
	}
	if _, known := s.cloud.User(req.User); req.User != "" && !known && r.URL.Path != "/control/revoke" {
		fail(http.StatusNotFound, "there is no user %.80q", req.User)
		return
	}
	switch r.URL.Path {
	case "/control/advance":
		s.Advance(d)
	case "/control/fault":
		f, ok := req.fault(d)
		if !ok {
			fail(http.StatusBadRequest, "there is no fault %.40q", req.Fault)
			return
		}
		s.Inject(req.Op, f.Times(req.Times))
	case "/control/clear-faults":
		s.cloud.Faults.Clear()
	case "/control/script":
		if req.User == "" || req.Decision != Allow && req.Decision != Deny && req.Decision != Ignore {
			fail(http.StatusBadRequest, "want a User, and a Decision: allow, deny or ignore")
			return
		}
		s.ScriptUser(req.User, req.Decision)
	case "/control/revoke":
		s.Revoke(req.User, req.Provider)
	case "/control/fail-session":
		if !s.FailSession(req.SessionURI) {
			fail(http.StatusNotFound, "there is no such session")
			return
		}
	case "/control/id-token":
		if req.User == "" {
			fail(http.StatusBadRequest, "want a User")
			return
		}
		answer(http.StatusOK, map[string]string{"id_token": s.IDToken(req.User).Reveal()})
		return
	case "/control/calls":
		answer(http.StatusOK, map[string]any{"calls": s.Calls()})
		return
	default:
		fail(http.StatusNotFound, "there is no %.80q", r.URL.Path)
		return
	}
	answer(http.StatusOK, map[string]string{"status": "ok"})
}

func (r *controlRequest) fault(d time.Duration) (Fault, bool) {
	switch r.Fault {
	case "throttle":
		return Throttle(d), true
	case "error":
		return ServiceError(r.Status, r.Code), r.Status >= 400 && r.Status < 600
	case "delay":
		return Delay(d), true
	case "hang":
		return Hang(), true
	case "drop":
		return DropConnection(), true
	case "malformed":
		return MalformedJSON(), true
	case "html":
		return HTMLPage(r.Status), r.Status >= 200 && r.Status < 600
	case "empty":
		return EmptyObject(), true
	case "expired":
		return ExpiredOnArrival(), true
	}
	return Fault{}, false
}
