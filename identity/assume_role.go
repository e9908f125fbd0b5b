// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// STSCredentials are temporary Alibaba Cloud credentials. Values are immutable
// snapshots: id, secret, token and expiry belong together.
type STSCredentials struct {
	AccessKeyID     string
	AccessKeySecret Secret
	SecurityToken   Secret
	// Expiration is when they end, by the service's clock.
	Expiration time.Time
}

func (s *STSCredentials) credential() acs.Credential {
	return acs.Credential{
		AccessKeyID: s.AccessKeyID, AccessKeySecret: s.AccessKeySecret.Reveal(),
		SecurityToken: s.SecurityToken.Reveal(), ProviderName: "static_sts",
	}
}

// AssumeRoleRequest asks for the STS credentials of a workload identity's role.
type AssumeRoleRequest struct {
	// WorkloadAccessToken is the only proof that the call carries. Required.
	WorkloadAccessToken Secret
	// SessionName names the session in audit logs: 2 to 64 letters, digits
	// and .@-_ characters. Required.
	SessionName string
	// Duration is how long the credentials live. If zero, the service's
	// default. Whole seconds are sent.
	Duration time.Duration
	// Policy is a RAM policy document that narrows the role, or "".
	Policy string
}

// AssumedRole is the answer of AssumeRoleForWorkloadIdentity.
type AssumedRole struct {
	Credentials STSCredentials
	// ServerTime is the service's clock at the answer, zero if it did not
	// say. Credentials.Expiration minus ServerTime is how long they live even
	// where the local clock is wrong.
	ServerTime time.Time
	// Arn and AssumedRoleID name the session of the role.
	Arn, AssumedRoleID string
	// WorkloadIdentityArn and User say whom the session stands for.
	WorkloadIdentityArn string
	User                AssumedRoleUser
}

// AssumedRoleUser is the user in a role session; all empty without one.
type AssumedRoleUser struct {
	UserID          string   // as given by the application
	Issuer, Subject string   // of the user's JWT
	Audiences       []string // of the user's JWT
}

// AssumeRoleForWorkloadIdentity exchanges a workload access token for STS
// credentials of the RAM role of the workload identity. The call is not
// signed: whoever has the token has the role.
func (c *Client) AssumeRoleForWorkloadIdentity(ctx context.Context, req *AssumeRoleRequest) (*AssumedRole, error) {
	const op = "AssumeRoleForWorkloadIdentity"
	params := acs.Params{
		"WorkloadAccessToken": req.WorkloadAccessToken.Reveal(),
		"RoleSessionName":     req.SessionName,
	}
	if req.Duration > 0 {
		params.Set("DurationSeconds", int64(req.Duration/time.Second))
	}
	params.SetNonEmpty("Policy", req.Policy)
	wire := dataRequest(op, params)
	wire.Anonymous = true

	var out struct {
		Credentials struct {
			AccessKeyID     string `json:"AccessKeyId"`
			AccessKeySecret Secret
			SecurityToken   Secret
			Expiration      string
		}
		AssumedRoleUser struct {
			Arn           string
			AssumedRoleID string `json:"AssumedRoleId"`
		}
		WorkloadContextInfo struct {
			WorkloadIdentityArn string
			UserContext         struct {
				UserID    string `json:"UserId"`
				JwtClaims struct {
					Issuer, Subject, Audiences string
				}
			}
		}
	}
	meta, err := c.data.Call(ctx, wire, nil, &out)
	if err != nil {
		return nil, apiError(op, err)
	}
	cred := out.Credentials
	if cred.AccessKeyID == "" || cred.AccessKeySecret.IsZero() || cred.SecurityToken.IsZero() {
		return nil, incomplete(op, "complete Credentials", meta)
	}
	expires, err := parseTime(cred.Expiration)
	if err != nil {
		return nil, incomplete(op, fmt.Sprintf("readable Credentials.Expiration (%.40q)", cred.Expiration), meta)
	}
	role := &AssumedRole{
		Credentials: STSCredentials{
			AccessKeyID: cred.AccessKeyID, AccessKeySecret: cred.AccessKeySecret,
			SecurityToken: cred.SecurityToken, Expiration: expires,
		},
		ServerTime:          meta.Date(),
		Arn:                 out.AssumedRoleUser.Arn,
		AssumedRoleID:       out.AssumedRoleUser.AssumedRoleID,
		WorkloadIdentityArn: out.WorkloadContextInfo.WorkloadIdentityArn,
	}
	user := out.WorkloadContextInfo.UserContext
	role.User = AssumedRoleUser{UserID: user.UserID, Issuer: user.JwtClaims.Issuer, Subject: user.JwtClaims.Subject}
	// A text that holds a JSON list; what cannot be read is left out.
	_ = json.Unmarshal([]byte(user.JwtClaims.Audiences), &role.User.Audiences)
	return role, nil
}

// parseTime reads a time with its zone, with or without fractions. A time
// without a zone is UTC, as the API documents.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.ParseInLocation("2006-01-02T15:04:05", s, time.UTC)
	}
	return t, err
}
