// SPDX-License-Identifier: Apache-2.0

// Package demo holds the local cloud's example resources: a weather service
// that wants an API key, a schedule service that wants a request signed with
// STS credentials, and a time service that wants an OAuth2 access token. What
// they answer is made up and says so; the credentials are really checked.
package demo

import (
	"encoding/json"
	"hash/fnv"
	"io"
	"net/http"
	"strings"
	"time"
	_ "time/tzdata" // the time service must know the zones on every machine

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/identity"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
)

// TimeScope is what a token must have for the time service.
const TimeScope = "time:read"

// ScheduleVersion is the API version of the schedule service.
const ScheduleVersion = "2026-01-01"

// Service serves the example resources.
type Service struct {
	*core.Base
	Identity *identity.Service
	OAuth    *oauth.Server
}

// Routes adds the resources to mux.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /demo/weather", s.weather)
	mux.HandleFunc("GET /demo/schedule", s.schedule)
	mux.HandleFunc("GET /demo/time", s.time)
}

func (s *Service) answer(w http.ResponseWriter, op, user, target, signer string, status int, body any) {
	code := ""
	if f, ok := body.(failure); ok {
		code = f.Code
	}
	s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "demo", Op: op, User: user, Target: target, Signer: signer, Status: status, Code: code})
	w.Header().Set("X-Simulated", "true")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// What the resources answer; the order of the fields is that of their reading.
type (
	weather struct {
		City        string `json:"city"`
		Date        string `json:"date"`
		Condition   string `json:"condition"`
		Temperature int    `json:"temperature_celsius"`
		Humidity    int    `json:"humidity_percent"`
		Source      string `json:"source"`
	}
	schedule struct {
		Owner  string  `json:"owner"`
		Date   string  `json:"date"`
		Events []event `json:"events"`
		Source string  `json:"source"`
	}
	event struct {
		Start string `json:"start"`
		End   string `json:"end"`
		Title string `json:"title"`
	}
	clock struct {
		Time     string `json:"time"`
		Weekday  string `json:"weekday"`
		Timezone string `json:"timezone"`
		User     string `json:"user"`
		Source   string `json:"source"`
	}
)

// source marks every answer.
const source = "simulated example service"

func (s *Service) weather(w http.ResponseWriter, r *http.Request) {
	provider, ok := s.Identity.APIKeyProvider(r.Header.Get("X-Api-Key"))
	if !ok {
		s.answer(w, "GetWeather", "", "", "", http.StatusUnauthorized, failure{"InvalidApiKey", "the API key is missing or wrong"})
		return
	}
	city := strings.TrimSpace(r.URL.Query().Get("city"))
	if city == "" {
		city = "Hangzhou"
	}
	if len(city) > 200 {
		s.answer(w, "GetWeather", "", provider, "", http.StatusBadRequest, failure{"InvalidCity", "the city's name is too long"})
		return
	}
	today := s.Clock.Now().UTC().Format(time.DateOnly)
	h := fnv.New32a()
	_, _ = io.WriteString(h, strings.ToLower(city)+today)
	n := h.Sum32()
	conditions := []string{"sunny", "partly cloudy", "cloudy", "light rain", "windy"}
	s.answer(w, "GetWeather", "", provider, "", http.StatusOK, weather{
		city, today, conditions[n%5], 8 + int(n>>8%22), 35 + int(n>>16%55), source,
	})
}

// schedule wants a GetSchedule request signed with the STS credentials of a
// workload identity's role; the user in them decides whose schedule it is.
func (s *Service) schedule(w http.ResponseWriter, r *http.Request) {
	const op = "GetSchedule"
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.answer(w, op, "", "", "", http.StatusRequestEntityTooLarge, failure{"RequestTooLarge", "the request is too large"})
		return
	}
	p, ref := s.Identity.Verify(r, body)
	if ref != nil {
		status, code, message := ref.Parts()
		s.answer(w, op, "", "", p.AccessKeyID, status, failure{code, message})
		return
	}
	if r.Header.Get("X-Acs-Action") != op || r.Header.Get("X-Acs-Version") != ScheduleVersion {
		s.answer(w, op, "", "", p.AccessKeyID, http.StatusNotFound, failure{"InvalidAction.NotFound", "want the action GetSchedule of version " + ScheduleVersion})
		return
	}
	if p.Session == nil || p.Session.User.Label() == "" {
		s.answer(w, op, "", "", p.AccessKeyID, http.StatusForbidden, failure{"NoPermission", "a schedule belongs to a user; the credentials that signed stand for none"})
		return
	}
	user := p.Session.User.Label()
	date := r.URL.Query().Get("date")
	if date == "" {
		date = s.Clock.Now().UTC().Format(time.DateOnly)
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		s.answer(w, op, user, "", p.AccessKeyID, http.StatusBadRequest, failure{"InvalidDate", "want a date such as 2026-01-31"})
		return
	}
	owner := user
	if u, ok := s.User(user); ok {
		owner = u.Name
	}
	s.answer(w, op, user, date, p.AccessKeyID, http.StatusOK, schedule{owner, date, []event{
		{"09:30", "10:00", "Stand-up of " + owner + "'s team"},
		{"14:00", "15:00", "Design review: agent identity"},
		{"16:30", "17:00", "Coffee with a customer"},
	}, source})
}

func (s *Service) time(w http.ResponseWriter, r *http.Request) {
	const op = "GetTime"
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims, err := s.OAuth.VerifyAccess(token)
	if !ok || err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		s.answer(w, op, "", "", "", http.StatusUnauthorized, failure{"InvalidToken", "the access token is missing, wrong or has expired"})
		return
	}
	granted := false
	for _, scope := range claims.Scopes {
		granted = granted || scope == TimeScope
	}
	if !granted {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+TimeScope+`"`)
		s.answer(w, op, claims.Subject, claims.ClientID, "", http.StatusForbidden, failure{"InsufficientScope", "the access token does not have the scope " + TimeScope})
		return
	}
	zone := r.URL.Query().Get("timezone")
	if zone == "" {
		zone = "Asia/Shanghai"
	}
	location, err := time.LoadLocation(zone)
	if err != nil || len(zone) > 64 {
		s.answer(w, op, claims.Subject, claims.ClientID, "", http.StatusBadRequest, failure{"InvalidTimezone", "want an IANA time zone such as Asia/Shanghai"})
		return
	}
	now := s.Clock.Now().In(location)
	s.answer(w, op, claims.Subject, claims.ClientID, "", http.StatusOK, clock{
		now.Format(time.RFC3339), now.Weekday().String(), zone, claims.Subject, source,
	})
}
