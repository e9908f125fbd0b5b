// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alibabacloud-go/tea/tea"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// Kinds of failure to branch on with errors.Is.
var (
	// ErrNotFound: what the call names does not exist.
	ErrNotFound = errors.New("identity: not found")
	// ErrAlreadyExists: what the call creates exists.
	ErrAlreadyExists = errors.New("identity: already exists")
	// ErrThrottled: too many calls; the service did not act on this one.
	ErrThrottled = errors.New("identity: throttled")
	// ErrAccessDenied: the credential may not do this.
	ErrAccessDenied = errors.New("identity: access denied")
	// ErrUnavailable: the service failed, or no answer arrived.
	ErrUnavailable = errors.New("identity: service unavailable")
	// ErrInvalidUserToken: the service does not accept the user's token; the
	// user has to sign in again.
	ErrInvalidUserToken = errors.New("identity: user token not accepted")
	// ErrInvalidWorkloadToken: the workload access token is missing or has
	// expired; get a new one.
	ErrInvalidWorkloadToken = errors.New("identity: workload access token not accepted")
	// ErrInvalidSigner: the credential that signed the call is not accepted,
	// or not any more.
	ErrInvalidSigner = errors.New("identity: signing credential not accepted")
	// ErrNoCaller: the call needs a user and ctx carries none; put one in with
	// [NewContext] where the request comes in. Never in an [APIError].
	ErrNoCaller = errors.New("identity: no user in the context: put one in with identity.NewContext")
)

// CodeMalformedResponse is the Code of an [APIError] whose answer could not be
// used: no JSON, cut short, too large, or without the fields it must have.
const CodeMalformedResponse = acs.CodeMalformed

// APIError is a call that failed: the service refused it, its answer could not
// be used, or no answer arrived (StatusCode is 0 then). The text of Error is
// not part of the API.
type APIError struct {
	Op         string        // operation, such as GetResourceAPIKey
	Code       string        // machine-readable, "" if the service named none
	Message    string        // the service's words
	StatusCode int           // HTTP status, 0 if no answer arrived
	RequestID  string        // to be named to the service's support
	RetryAfter time.Duration // how long the service asked to wait, or 0

	err error // cause, when no answer arrived
}

const maxMessage = 1 << 10

func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "identity: %s: ", e.Op)
	switch {
	case e.StatusCode == 0:
		fmt.Fprintf(&b, "%v", e.err)
	default:
		message := e.Message
		if len(message) > maxMessage {
			message = message[:maxMessage] + "…"
		}
		code := e.Code
		if code == "" {
			code = "no code"
		}
		fmt.Fprintf(&b, "%.100q (HTTP status %d): %q", code, e.StatusCode, message)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, ", request id %.100q", e.RequestID)
	}
	if h := e.hint(); h != "" {
		b.WriteString("; ")
		b.WriteString(h)
	}
	return b.String()
}

// hint says what to do where the code tells.
func (e *APIError) hint() string {
	switch {
	case strings.HasPrefix(e.Code, "EntityNotExist") && strings.HasSuffix(e.Code, ".WorkloadIdentity"):
		return "check the workload identity's name, the region, and that the credential belongs to its account"
	case e.Code == "MissingRoleArn":
		return "give the workload identity a RAM role (RoleArn)"
	case e.Code == "Missmatch.ResourceOAuth2ReturnURL":
		return "add the return URL to the workload identity's AllowedResourceOAuth2ReturnURLs"
	case e.Code == "MissingParameter.ResourceOAuth2ReturnURL":
		return "session binding is on, so the source needs a callback URL"
	case errors.Is(e, ErrInvalidUserToken):
		return "the user must sign in again; if that does not help, compare the token's issuer and audience with the identity provider"
	case strings.HasPrefix(e.Code, "InvalidAccessKeyId"), strings.HasPrefix(e.Code, "SignatureDoesNotMatch"):
		return "check the access key of the agent's own credential"
	}
	return ""
}

// Unwrap returns the cause when no answer arrived.
func (e *APIError) Unwrap() error { return e.err }

// Temporary reports whether the same call may succeed later.
func (e *APIError) Temporary() bool {
	return errors.Is(e, ErrThrottled) || errors.Is(e, ErrUnavailable)
}

// RetryDelay is RetryAfter.
func (e *APIError) RetryDelay() time.Duration { return e.RetryAfter }

// Is makes errors.Is find the kinds of failure.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		// RAM and IMS write EntityNotExist, Agent Identity EntityNotExists.
		return strings.HasPrefix(e.Code, "EntityNotExist")
	case ErrAlreadyExists:
		return strings.HasPrefix(e.Code, "EntityAlreadyExists")
	case ErrThrottled:
		return e.StatusCode == 429 || strings.Contains(e.Code, "Throttling")
	case ErrAccessDenied:
		return e.StatusCode == 403 || e.Code == "NoPermission" || strings.HasPrefix(e.Code, "Forbidden")
	case ErrUnavailable:
		return e.StatusCode == 0 || e.StatusCode >= 500 || strings.HasPrefix(e.Code, "ServiceUnavailable")
	case ErrInvalidUserToken:
		return e.Code == "InvalidParameter.JsonWebToken"
	case ErrInvalidWorkloadToken:
		return strings.HasSuffix(e.Code, "Parameter.WorkloadAccessToken")
	case ErrInvalidSigner:
		return strings.HasPrefix(e.Code, "InvalidSecurityToken") || strings.HasPrefix(e.Code, "InvalidAccessKeyId")
	}
	return false
}

// As lets errors.As find a *tea.SDKError, the error of the official SDKs.
func (e *APIError) As(target any) bool {
	t, ok := target.(**tea.SDKError)
	if !ok {
		return false
	}
	*t = tea.NewSDKError(map[string]any{
		"code":       e.Code,
		"message":    e.Message,
		"statusCode": e.StatusCode,
		"data":       map[string]any{"RequestId": e.RequestID, "statusCode": e.StatusCode},
	})
	return true
}

// apiError turns an error of the wire layer into ours. A ctx error and errors
// of other origin pass.
func apiError(op string, err error) error {
	if e, ok := errors.AsType[*acs.Error](err); ok {
		return &APIError{
			Op: op, Code: e.Code, Message: e.Message, StatusCode: e.StatusCode,
			RequestID: e.RequestID, RetryAfter: e.RetryAfter,
		}
	}
	if e, ok := errors.AsType[*acs.TransportError](err); ok {
		return &APIError{Op: op, Message: "no answer", err: fmt.Errorf("no answer from %s: %w", e.Host, e.Err)}
	}
	return err
}

// incomplete reports an answer without a field that it must have.
func incomplete(op, field string, meta acs.Meta) error {
	return &APIError{
		Op: op, Code: CodeMalformedResponse, StatusCode: 200, RequestID: meta.RequestID,
		Message: "the answer has no " + field,
	}
}
