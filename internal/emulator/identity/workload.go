// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

func (s *Service) workload(name string) (*Workload, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.workloads[name]
	if !ok {
		return nil, &Refusal{404, "EntityNotExists.WorkloadIdentity", fmt.Sprintf("there is no workload identity %.80q", name)}
	}
	return w, nil
}

func (s *Service) getWorkloadAccessToken(c *call) (map[string]any, *Refusal) {
	return s.issueWorkloadToken(c, Subject{})
}

func (s *Service) getWorkloadAccessTokenForUserID(c *call) (map[string]any, *Refusal) {
	return s.issueWorkloadToken(c, Subject{UserID: c.params["UserId"]})
}

func (s *Service) getWorkloadAccessTokenForJWT(c *call) (map[string]any, *Refusal) {
	w, ref := s.workload(c.params["WorkloadIdentityName"])
	if ref != nil {
		return nil, ref
	}
	user, err := s.verifyUser(c.ctx, w, c.params["UserToken"])
	if err != nil {
		return nil, &Refusal{400, "InvalidParameter.JsonWebToken", "the user token was not accepted: " + err.Error()}
	}
	return s.issueWorkloadToken(c, user)
}

func (s *Service) issueWorkloadToken(c *call, user Subject) (map[string]any, *Refusal) {
	w, ref := s.workload(c.params["WorkloadIdentityName"])
	if ref != nil {
		return nil, ref
	}
	c.user, c.target = user, w.Name
	// Five parts, like the encrypted JWT that the service returns, and as
	// unreadable.
	token := strings.Join([]string{randid.Hex(20), randid.Hex(16), randid.Hex(12), randid.Hex(48), randid.Hex(16)}, ".")
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	for t, wt := range s.tokens {
		if len(s.tokens) < 10_000 {
			break
		}
		if now.After(wt.expires) {
			delete(s.tokens, t)
		}
	}
	s.tokens[token] = workloadToken{w.Name, user, now.Add(workloadTokenLife)}
	return map[string]any{"WorkloadAccessToken": token}, nil
}

// verifyUser checks a user's JWT against the identity provider of the
// workload identity: signature by its published keys, issuer, audience, expiry.
func (s *Service) verifyUser(ctx context.Context, w *Workload, token string) (Subject, error) {
	s.mu.Lock()
	p, ok := s.idps[w.IdentityProvider]
	verifier := s.verifiers[w.IdentityProvider]
	s.mu.Unlock()
	if !ok {
		return Subject{}, fmt.Errorf("workload identity %s has no identity provider", w.Name)
	}
	if verifier == nil {
		// The key set outlives this request.
		ctx := oidc.ClientContext(context.WithoutCancel(ctx), s.http)
		discovered, err := oidc.NewProvider(ctx, p.Issuer)
		if err != nil {
			return Subject{}, fmt.Errorf("discovery of %s failed", p.Issuer)
		}
		verifier = discovered.Verifier(&oidc.Config{SkipClientIDCheck: true, Now: s.Clock.Now, SupportedSigningAlgs: []string{oidc.RS256}})
		s.mu.Lock()
		s.verifiers[w.IdentityProvider] = verifier
		s.mu.Unlock()
	}
	t, err := verifier.Verify(ctx, token)
	if err != nil {
		return Subject{}, err
	}
	if !slices.ContainsFunc(t.Audience, func(aud string) bool { return slices.Contains(p.Audiences, aud) }) {
		return Subject{}, fmt.Errorf("its audience is not one of the identity provider's")
	}
	if t.Subject == "" {
		return Subject{}, fmt.Errorf("it has no subject")
	}
	return Subject{Token: token, Issuer: t.Issuer, Subject: t.Subject, Audience: t.Audience}, nil
}

// useToken finds what a workload access token stands for, and refuses a
// signer that stands for somebody else.
func (s *Service) useToken(c *call) (workloadToken, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[c.params["WorkloadAccessToken"]]
	if !ok || s.Clock.Now().After(t.expires) {
		return workloadToken{}, &Refusal{400, "InvalidParameter.WorkloadAccessToken", "the workload access token is not valid or has expired"}
	}
	c.user = t.user
	if in := c.principal.Session; in != nil && (in.Workload != t.workload || in.User.key() != t.user.key()) {
		return workloadToken{}, &Refusal{403, "NoPermission", "the credentials that signed belong to another workload identity or user than the token"}
	}
	return t, nil
}

// Bearer finds what a workload access token stands for, for gateways.
func (s *Service) Bearer(token string) (workload, user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[token]
	if !ok || s.Clock.Now().After(t.expires) {
		return "", "", false
	}
	return t.workload, t.user.Label(), true
}

var sessionNamePattern = regexp.MustCompile(`^[A-Za-z0-9.@_-]{2,64}$`)

func (s *Service) assumeRole(c *call) (map[string]any, *Refusal) {
	t, ref := s.useToken(c)
	if ref != nil {
		return nil, ref
	}
	c.target = t.workload
	w, ref := s.workload(t.workload)
	if ref != nil {
		return nil, ref
	}
	if w.RoleArn == "" {
		return nil, &Refusal{400, "MissingRoleArn", "the workload identity has no RAM role"}
	}
	name := c.params["RoleSessionName"]
	if !sessionNamePattern.MatchString(name) {
		return nil, &Refusal{400, "InvalidParameter.RoleSessionName", "want 2 to 64 letters, digits and .@-_"}
	}
	seconds := 3600
	if text, ok := c.params["DurationSeconds"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 900 || n > 43200 {
			return nil, &Refusal{400, "InvalidParameter.DurationSeconds", "want 900 to 43200 seconds"}
		}
		seconds = n
	}
	if policy, ok := c.params["Policy"]; ok && !json.Valid([]byte(policy)) {
		return nil, &Refusal{400, "MalformedPolicyDocument", "Policy is not a JSON document"}
	}
	session := &RoleSession{
		Workload: t.workload, User: t.user, Expires: s.Clock.Now().Add(time.Duration(seconds) * time.Second),
		secret: randid.Hex(20), securityToken: "CAIS" + randid.Hex(48),
	}
	keyID := "STS.LOCAL" + strings.ToUpper(randid.Hex(8))
	s.mu.Lock()
	for id, old := range s.sessions {
		if s.Clock.Now().After(old.Expires.Add(time.Hour)) {
			delete(s.sessions, id)
		}
	}
	s.sessions[keyID] = session
	s.mu.Unlock()
	return map[string]any{
		"Credentials": map[string]any{
			"AccessKeyId": keyID, "AccessKeySecret": session.secret, "SecurityToken": session.securityToken,
			"Expiration": session.Expires.UTC().Format("2006-01-02T15:04:05Z"),
		},
		"AssumedRoleUser": map[string]any{
			"Arn":           strings.Replace(w.RoleArn, ":role/", ":assumed-role/", 1) + "/" + name,
			"AssumedRoleId": "300000000000000000:" + name,
		},
		"WorkloadContextInfo": map[string]any{
			"WorkloadIdentityArn": w.Arn(),
			"UserContext":         userContext(t.user),
		},
	}, nil
}

func userContext(u Subject) map[string]any {
	switch {
	case u.Token != "":
		audiences, _ := json.Marshal(u.Audience)
		return map[string]any{"JwtClaims": map[string]any{"Issuer": u.Issuer, "Subject": u.Subject, "Audiences": string(audiences)}}
	case u.UserID != "":
		return map[string]any{"UserId": u.UserID}
	}
	return map[string]any{}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

func (s *Service) createWorkloadIdentity(c *call) (map[string]any, *Refusal) {
	w := &Workload{
		Name: c.params["WorkloadIdentityName"], RoleArn: c.params["RoleArn"], IdentityProvider: c.params["IdentityProviderName"],
		Description: c.params["Description"], SourcePlatform: c.params["SourcePlatform"], SourceAgentArn: c.params["SourceAgentArn"],
		SessionBinding: c.params["SessionBindingEnabled"] == "true", created: s.Clock.Now(), updated: s.Clock.Now(),
	}
	if ref := checkName(c, "WorkloadIdentityName"); ref != nil {
		return nil, ref
	}
	if ref := jsonParam(c, "AllowedResourceOAuth2ReturnURLs", &w.ReturnURLs); ref != nil {
		return nil, ref
	}
	if c.params["CreateRAMRole"] == "true" {
		w.RoleArn = "acs:ram::" + accountID + ":role/agentidentityrole-" + strings.ToLower(w.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workloads[w.Name] != nil {
		return nil, exists("WorkloadIdentity", w.Name)
	}
	if ref := s.checkIdentityProvider(w); ref != nil {
		return nil, ref
	}
	s.workloads[w.Name] = w
	return map[string]any{"WorkloadIdentity": w.describe()}, nil
}

// checkIdentityProvider is called with s.mu held.
func (s *Service) checkIdentityProvider(w *Workload) *Refusal {
	if w.IdentityProvider != "" && s.idps[w.IdentityProvider] == nil {
		return absent("IdentityProvider", w.IdentityProvider)
	}
	return nil
}

func (w *Workload) describe() map[string]any {
	return map[string]any{
		"WorkloadIdentityName": w.Name, "WorkloadIdentityArn": w.Arn(), "Description": w.Description, "RoleArn": w.RoleArn,
		"IdentityProviderName": w.IdentityProvider, "AllowedResourceOAuth2ReturnURLs": w.ReturnURLs,
		"SessionBindingEnabled": w.SessionBinding, "SourcePlatform": w.SourcePlatform, "SourceAgentArn": w.SourceAgentArn,
		"CreateTime": stamp(w.created), "UpdateTime": stamp(w.updated),
	}
}

func (s *Service) getWorkloadIdentity(c *call) (map[string]any, *Refusal) {
	c.target = c.params["WorkloadIdentityName"]
	w, ref := s.workload(c.target)
	if ref != nil {
		return nil, ref
	}
	return map[string]any{"WorkloadIdentity": w.describe()}, nil
}

func (s *Service) updateWorkloadIdentity(c *call) (map[string]any, *Refusal) {
	c.target = c.params["WorkloadIdentityName"]
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.workloads[c.target]
	if old == nil {
		return nil, absent("WorkloadIdentity", c.target)
	}
	w := *old // calls that are under way keep the old one
	for name, field := range map[string]*string{"Description": &w.Description, "IdentityProviderName": &w.IdentityProvider, "RoleArn": &w.RoleArn} {
		if text, ok := c.params[name]; ok {
			*field = text
		}
	}
	if _, ok := c.params["AllowedResourceOAuth2ReturnURLs"]; ok {
		w.ReturnURLs = nil
		if ref := jsonParam(c, "AllowedResourceOAuth2ReturnURLs", &w.ReturnURLs); ref != nil {
			return nil, ref
		}
	}
	if text, ok := c.params["SessionBindingEnabled"]; ok {
		w.SessionBinding = text == "true"
	}
	if ref := s.checkIdentityProvider(&w); ref != nil {
		return nil, ref
	}
	w.updated = s.Clock.Now()
	s.workloads[w.Name] = &w
	return map[string]any{}, nil
}

func (s *Service) deleteWorkloadIdentity(c *call) (map[string]any, *Refusal) {
	c.target = c.params["WorkloadIdentityName"]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workloads[c.target] == nil {
		return nil, absent("WorkloadIdentity", c.target)
	}
	delete(s.workloads, c.target)
	return map[string]any{}, nil
}

func (s *Service) listWorkloadIdentities(c *call) (map[string]any, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return listObjects(c, "WorkloadIdentities", s.workloads, (*Workload).describe)
}
