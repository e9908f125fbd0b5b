// SPDX-License-Identifier: Apache-2.0

// Package identity is the local cloud's Agent Identity: the data plane
// (agentidentitydata 2025-11-27) and of the control plane (agentidentity
// 2025-09-01) workload identities, identity providers, credential providers and
// the default token vault, over their real wire protocol.
//
// It is as strict as the service is documented to be: signatures are
// verified, workload identities, providers and return URLs must be registered,
// users' tokens are verified through their issuer's discovery, sessions belong
// to one user and are used once, unknown parameters are refused.
package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

const (
	dataVersion    = "2025-11-27"
	controlVersion = "2025-09-01"

	accountID = "1000000000000000"
	region    = "cn-beijing"

	workloadTokenLife = 5 * time.Minute
	sessionLife       = 10 * time.Minute
)

// Workload is a workload identity.
type Workload struct {
	Name             string
	RoleArn          string
	IdentityProvider string
	ReturnURLs       []string
	SessionBinding   bool
	Description      string
	SourcePlatform   string
	SourceAgentArn   string
	created, updated time.Time
}

// Arn names the workload identity.
func (w *Workload) Arn() string {
	return "acs:agentidentity:" + region + ":" + accountID + ":workloadidentitydirectory/default/workloadidentity/" + w.Name
}

// IdentityProvider verifies users' tokens.
type IdentityProvider struct {
	Name      string
	Issuer    string
	Audiences []string

	record
}

// OAuth2Provider is an outbound credential provider.
type OAuth2Provider struct {
	Name                  string
	ClientID              string
	ClientSecret          string
	AuthorizationEndpoint string
	TokenEndpoint         string
	CallbackID            string // the last part of its callback URL
	// OnBehalfOf providers exchange tokens and ask no user.
	OnBehalfOf bool

	vendor, oauthType string
	config            oauth2Config
	record
}

// RoleSession is what STS credentials stand for.
type RoleSession struct {
	Workload string
	User     Subject
	Expires  time.Time

	secret, securityToken string
}

// Subject is the user in a workload access token: none, a user id, or a JWT.
type Subject struct {
	UserID   string
	Token    string // the very JWT
	Issuer   string
	Subject  string
	Audience []string
}

// key identifies the user, not the token.
func (s Subject) key() string {
	if s.Token != "" {
		return fmt.Sprintf("jwt:%d:%s%s", len(s.Issuer), s.Issuer, s.Subject)
	}
	return "id:" + s.UserID
}

// Label names the user in records.
func (s Subject) Label() string {
	if s.Token != "" {
		return s.Subject
	}
	return s.UserID
}

func (s Subject) none() bool { return s.Token == "" && s.UserID == "" }

type workloadToken struct {
	workload string
	user     Subject
	expires  time.Time
}

// Service is the local Agent Identity.
type Service struct {
	*core.Base
	// OnSession, if set, is told of each consent session that begins: the
	// user's label, the session, and the link. It must return at once.
	OnSession func(user, uri, link string)

	http *http.Client

	mu         sync.Mutex // guards the rest
	accessKeys map[string]string
	workloads  map[string]*Workload
	idps       map[string]*IdentityProvider
	verifiers  map[string]*oidc.IDTokenVerifier // by identity provider
	apiKeys    map[string]*apiKeyProvider
	oauth      map[string]*OAuth2Provider
	tokens     map[string]workloadToken
	sessions   map[string]*RoleSession // by access key id
	nonces     map[string]time.Time
	consents   map[string]*consent // by session URI
	states     map[string]*consent // by the state sent to the authorization server
	grants     map[grantKey]*storedGrant
}

// New makes a service.
func New(base *core.Base) *Service {
	return &Service{
		Base: base,
		http: &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		accessKeys: map[string]string{}, workloads: map[string]*Workload{}, idps: map[string]*IdentityProvider{},
		verifiers: map[string]*oidc.IDTokenVerifier{}, apiKeys: map[string]*apiKeyProvider{}, oauth: map[string]*OAuth2Provider{},
		tokens: map[string]workloadToken{}, sessions: map[string]*RoleSession{}, nonces: map[string]time.Time{},
		consents: map[string]*consent{}, states: map[string]*consent{}, grants: map[grantKey]*storedGrant{},
	}
}

// Routes adds the service's endpoints to mux.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /{$}", s.rpc)
	mux.HandleFunc("GET /oauth2/authorize", s.openLink)
	mux.HandleFunc("GET /oauth2/callback/{id}", s.callback)
}

// call is one RPC request with what was found out about it.
type call struct {
	ctx       context.Context
	params    map[string]string
	principal Principal
	user      Subject // whom the call is for, for the record
	target    string
}

type operation struct {
	anonymous bool
	// roleMay lets the STS credentials of a workload identity's role call it.
	roleMay  bool
	required []string
	optional []string
	run      func(*Service, *call) (map[string]any, *Refusal)
}

var dataOperations = map[string]operation{
	"GetWorkloadAccessToken":          {required: []string{"WorkloadIdentityName"}, run: (*Service).getWorkloadAccessToken},
	"GetWorkloadAccessTokenForJWT":    {required: []string{"WorkloadIdentityName", "UserToken"}, run: (*Service).getWorkloadAccessTokenForJWT},
	"GetWorkloadAccessTokenForUserId": {required: []string{"WorkloadIdentityName", "UserId"}, run: (*Service).getWorkloadAccessTokenForUserID},
	"GetResourceAPIKey":               {roleMay: true, required: []string{"WorkloadAccessToken", "ResourceCredentialProviderName"}, run: (*Service).getResourceAPIKey},
	"GetResourceOAuth2Token": {
		roleMay: true, required: []string{"WorkloadAccessToken", "ResourceCredentialProviderName", "OAuth2Flow"},
		optional: []string{"Scopes", "ResourceOAuth2ReturnURL", "ForceAuthentication", "CustomState", "CustomParameters", "SessionURI", "Audience"},
		run:      (*Service).getResourceOAuth2Token,
	},
	"CompleteResourceTokenAuth": {required: []string{"SessionURI", "UserIdentifier"}, run: (*Service).completeResourceTokenAuth},
	"AssumeRoleForWorkloadIdentity": {
		anonymous: true, required: []string{"WorkloadAccessToken", "RoleSessionName"},
		optional: []string{"DurationSeconds", "Policy"}, run: (*Service).assumeRole,
	},
}

func (s *Service) rpc(w http.ResponseWriter, r *http.Request) {
	requestID := strings.ToUpper(randid.UUID())
	action := r.Header.Get("X-Acs-Action")
	c := &call{ctx: r.Context()}
	var answer map[string]any
	var ref *Refusal
	fault := s.Faults.Take(action)
	if fault != nil {
		// What hangs or is dropped must have been read, or the connection's end
		// would not be seen.
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		status, done := fault.Play(w, r)
		if done {
			s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "identity", Op: action, Status: status, Code: "fault"})
			return
		}
		if status != 0 {
			ref = &Refusal{status, fault.Code, "a fault that a test asked for"}
		}
	}
	if ref == nil {
		answer, ref = s.handle(r, action, c)
	}
	if cred, ok := answer["Credentials"].(map[string]any); ok && fault != nil && fault.Expired {
		cred["Expiration"] = s.Clock.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05Z")
	}
	status, code := http.StatusOK, ""
	if ref != nil {
		status, code = ref.status, ref.code
		answer = map[string]any{
			"Code": ref.code, "Message": ref.message, "HostId": r.Host,
			"Recommend": "https://api.aliyun.com/troubleshoot?q=" + url.QueryEscape(ref.code),
		}
	}
	s.Calls.Add(core.Call{
		Time: s.Clock.Now(), Service: "identity", Op: action, User: c.user.Label(), Target: c.target,
		Signer: c.principal.AccessKeyID, Status: status, Code: code, Params: masked(c.params),
	})
	answer["RequestId"] = requestID
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=utf-8")
	h.Set("X-Acs-Request-Id", requestID)
	h.Set("Date", s.Clock.Now().UTC().Format(http.TimeFormat))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// shown are the parameters that a record may hold as they are. All others are
// masked: better one too many.
var shown = []string{
	"WorkloadIdentityName", "ResourceCredentialProviderName", "OAuth2Flow", "Scopes", "ResourceOAuth2ReturnURL", "ForceAuthentication",
	"CustomState", "CustomParameters", "SessionURI", "Audience", "UserId", "RoleSessionName", "DurationSeconds", "Policy",
	"RoleArn", "CreateRAMRole", "IdentityProviderName", "AllowedResourceOAuth2ReturnURLs", "SessionBindingEnabled", "Description",
	"SourcePlatform", "SourceAgentArn", "DiscoveryURL", "AllowedAudience", "APIKeyCredentialProviderName", "OAuth2CredentialProviderName",
	"CredentialProviderVendor", "CallbackURL", "OAuthType", "TokenVaultName", "MaxResults", "NextToken",
}

func masked(params map[string]string) map[string]string {
	out := make(map[string]string, len(params))
	for name, value := range params {
		if !slices.Contains(shown, name) {
			value = "[REDACTED]"
		}
		out[name] = value
	}
	return out
}

func (s *Service) handle(r *http.Request, action string, c *call) (map[string]any, *Refusal) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, &Refusal{413, "RequestTooLarge", "the request is larger than the service accepts"}
	}
	var operations map[string]operation
	switch r.Header.Get("X-Acs-Version") {
	case dataVersion:
		operations = dataOperations
	case controlVersion:
		operations = controlOperations
	default:
		return nil, &Refusal{404, "InvalidVersion", "x-acs-version names no API of the local cloud"}
	}
	op, ok := operations[action]
	if !ok {
		return nil, &Refusal{404, "InvalidAction.NotFound", fmt.Sprintf("the local cloud has no operation %.60q", action)}
	}
	if op.anonymous {
		if ref := checkAnonymous(r, action); ref != nil {
			return nil, ref
		}
	} else {
		var ref *Refusal
		if c.principal, ref = s.Verify(r, body); ref != nil {
			return nil, ref
		}
		if r.URL.RawQuery != "" {
			return nil, &Refusal{400, "InvalidParameter", "the parameters of this API belong into the form body"}
		}
		if c.principal.Session != nil && !op.roleMay {
			return nil, &Refusal{403, "NoPermission", "the role of a workload identity may not call " + action}
		}
	}
	var ref *Refusal
	if c.params, ref = formParams(r, body, op); ref != nil {
		return nil, ref
	}
	return op.run(s, c)
}

func checkAnonymous(r *http.Request, action string) *Refusal {
	q := r.URL.Query()
	if r.Header.Get("Authorization") != "" {
		return &Refusal{400, "InvalidParameter", action + " is anonymous and takes no signature"}
	}
	for _, name := range []string{"Version", "Format", "Timestamp", "SignatureNonce"} {
		if q.Get(name) == "" {
			return &Refusal{400, "MissingParameter." + name, name + " is missing in the query"}
		}
	}
	if q.Get("Action") != action || q.Get("Version") != r.Header.Get("X-Acs-Version") || len(q) != 5 {
		return &Refusal{400, "InvalidParameter", "the query does not match the headers"}
	}
	return nil
}

func formParams(r *http.Request, body []byte, op operation) (map[string]string, *Refusal) {
	if mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); mediaType != "application/x-www-form-urlencoded" {
		return nil, &Refusal{400, "UnsupportedHTTPContentType", "send the parameters as a form"}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &Refusal{400, "InvalidParameter", "the form body cannot be read"}
	}
	params := make(map[string]string, len(form))
	for name, values := range form {
		if !slices.Contains(op.required, name) && !slices.Contains(op.optional, name) {
			return nil, &Refusal{400, "UnknownParameter", fmt.Sprintf("the operation has no parameter %.60q", name)}
		}
		if len(values) != 1 {
			return nil, &Refusal{400, "InvalidParameter." + name, "the parameter was sent more than once"}
		}
		params[name] = values[0]
	}
	for _, name := range op.required {
		if params[name] == "" {
			return nil, &Refusal{400, "MissingParameter." + name, name + " is required"}
		}
	}
	return params, nil
}

// jsonParam decodes a parameter whose value is JSON text. Absent is no error.
func jsonParam(c *call, name string, into any) *Refusal {
	text, ok := c.params[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return &Refusal{400, "InvalidParameter." + name, name + " is not the JSON that the API documents"}
	}
	return nil
}
