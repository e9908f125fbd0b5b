// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
)

// Fault is something that goes wrong at the cloud's Agent Identity because a
// test asked for it. Make one with [Throttle] and the like; see [Server.Inject].
type Fault struct {
	fault core.Fault
}

// Throttle refuses calls for their rate, and asks to wait. Whole seconds are
// sent, rounded up; zero asks for nothing.
func Throttle(retryAfter time.Duration) Fault {
	return Fault{core.Fault{Status: 429, Code: "Throttling.User", RetryAfter: retryAfter}}
}

// ServiceError refuses calls with an HTTP status and an error code, such as
// 503 and ServiceUnavailable.
func ServiceError(status int, code string) Fault {
	return Fault{core.Fault{Status: status, Code: code}}
}

// Delay answers rightly, but later.
func Delay(d time.Duration) Fault { return Fault{core.Fault{Delay: d}} }

// Hang answers nothing until the caller leaves.
func Hang() Fault { return Fault{core.Fault{Hang: true}} }

// DropConnection closes the connection without an answer.
func DropConnection() Fault { return Fault{core.Fault{Drop: true}} }

// MalformedJSON answers with JSON that breaks off.
func MalformedJSON() Fault {
	return Fault{core.Fault{ContentType: "application/json", Body: `{"RequestId":"broken`}}
}

// HTMLPage answers with a page, as a proxy in between may, under a status.
func HTMLPage(status int) Fault {
	return Fault{core.Fault{Status: status, ContentType: "text/html", Body: "<html><body>Bad gateway</body></html>"}}
}

// EmptyObject answers with success and an empty JSON object.
func EmptyObject() Fault {
	return Fault{core.Fault{ContentType: "application/json", Body: "{}"}}
}

// ExpiredOnArrival lets STS credentials have ended when they arrive.
func ExpiredOnArrival() Fault { return Fault{core.Fault{Expired: true}} }

// Times limits a fault to the next n calls.
func (f Fault) Times(n int) Fault {
	f.fault.Times = n
	return f
}

// Inject lets calls of an operation, such as GetResourceAPIKey, go wrong; ""
// means all. It lasts until the fault's number of times is used up, or remove
// is called. Of several faults for one call the oldest counts. Calls that met a
// fault are recorded, with the code "fault" where there was no error answer.
func (s *Server) Inject(op string, f Fault) (remove func()) {
	f.fault.Op = op
	return s.cloud.Faults.Add(f.fault)
}

// Revoke forgets what a user, named by subject or user id, granted to an OAuth2
// provider: they are asked again.
func (s *Server) Revoke(user, provider string) {
	s.cloud.Identity.Revoke(user, provider)
	s.cloud.OAuth.Forget(user, clientOf(provider))
}

// FailSession lets an open consent session fail, as if the authorization
// server had. It reports whether there is such a session.
func (s *Server) FailSession(sessionURI string) bool { return s.cloud.Identity.FailSession(sessionURI) }
