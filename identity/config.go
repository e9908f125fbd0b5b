// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aliyun/credentials-go/credentials"
)

// DefaultRegion is used when no region is configured, as the Python SDK does.
const DefaultRegion = "cn-beijing"

// Config configures a [Client]. The zero value uses region cn-beijing and the
// default credential chain.
type Config struct {
	// Region builds the hosts of the service. If empty, [DefaultRegion].
	Region string
	// Endpoint is the host or URL of the data plane. If empty,
	// agentidentitydata.{region}.aliyuncs.com. Plain HTTP is accepted for
	// loopback addresses only.
	Endpoint string
	// ControlEndpoint is the host or URL of the control plane. If empty,
	// agentidentity.{region}.aliyuncs.com.
	ControlEndpoint string
	// Credential is the agent's own Alibaba Cloud credential. If nil, the
	// default chain of credentials-go is asked on the first signed call:
	// environment, OIDC role, CLI profile, credentials file, instance role,
	// credentials URI. It need not be safe for concurrent use: the client
	// asks it one call at a time, keeps what it says for a minute, and asks
	// anew when the service rejects it.
	Credential credentials.Credential
	// HTTPClient's transport sends the calls, within its time limit. If nil,
	// a shared transport that keeps connections alive is used. Redirects are
	// never followed and cookies not kept: calls are signed.
	HTTPClient *http.Client
	// Attempts is how often one call is sent at most: server errors and
	// failed connections are repeated with backoff and jitter where that is
	// safe. If zero, 3; 1 never repeats. Throttled calls are repeated more
	// patiently, for some seconds, and from the first one on the client keeps
	// the calls of that operation just under the rate that the service
	// accepts.
	Attempts int
	// Timeout limits one attempt. If zero, 15 seconds.
	Timeout time.Duration
	// UserAgent is sent after the SDK's own.
	UserAgent string
	// Logger gets one debug line for each attempt: operation, host, time,
	// request id; never a parameter. If nil, nothing is logged.
	Logger *slog.Logger
}

// ConfigFromEnv reads the environment:
//
//   - AGENT_IDENTITY_REGION_ID: Region
//   - AGENT_IDENTITY_DATA_ENDPOINT: Endpoint
//   - AGENT_IDENTITY_ENDPOINT: ControlEndpoint
//
// The credential is left to the default chain, which reads
// ALIBABA_CLOUD_ACCESS_KEY_ID and the like.
func ConfigFromEnv() Config {
	env := func(name string) string { return strings.TrimSpace(os.Getenv(name)) }
	return Config{
		Region:          env("AGENT_IDENTITY_REGION_ID"),
		Endpoint:        env("AGENT_IDENTITY_DATA_ENDPOINT"),
		ControlEndpoint: env("AGENT_IDENTITY_ENDPOINT"),
	}
}
