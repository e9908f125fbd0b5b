// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"fmt"
	"regexp"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// API versions on the wire.
const (
	dataVersion    = "2025-11-27"
	controlVersion = "2025-09-01"
)

// Client calls Agent Identity: the data plane (agentidentitydata 2025-11-27),
// and with CallControl and package identity/control the control plane
// (agentidentity 2025-09-01).
// It is safe for concurrent use; one serves a whole program. Make one with
// [New].
type Client struct {
	region  string
	data    *acs.Client
	control *acs.Client
	base    *baseCredential
}

var regionPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{1,30}$`)

// New makes a client. It does no I/O: credentials and hosts are first tried by
// the first call.
func New(cfg Config) (*Client, error) {
	if cfg.Region == "" {
		cfg.Region = DefaultRegion
	}
	if !regionPattern.MatchString(cfg.Region) {
		return nil, fmt.Errorf("identity: region %q: want a region id such as %s", cfg.Region, DefaultRegion)
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = "agentidentitydata." + cfg.Region + ".aliyuncs.com"
	}
	if cfg.ControlEndpoint == "" {
		cfg.ControlEndpoint = "agentidentity." + cfg.Region + ".aliyuncs.com"
	}
	wire := acs.Config{
		HTTPClient: cfg.HTTPClient, Attempts: cfg.Attempts, Timeout: cfg.Timeout,
		UserAgent: cfg.UserAgent, Logger: cfg.Logger,
	}
	c := &Client{region: cfg.Region, base: newBaseCredential(cfg.Credential)}
	var err error
	wire.Endpoint = cfg.Endpoint
	if c.data, err = acs.New(wire); err != nil {
		return nil, fmt.Errorf("identity: Config.Endpoint: %w", err)
	}
	wire.Endpoint = cfg.ControlEndpoint
	if c.control, err = acs.New(wire); err != nil {
		return nil, fmt.Errorf("identity: Config.ControlEndpoint: %w", err)
	}
	return c, nil
}

// Region is the region the client was made for.
func (c *Client) Region() string { return c.region }

// call sends a signed request: with signer, if given, else with the agent's
// own credential. If the service rejects a snapshot of the latter, it is asked
// anew once.
func (c *Client) call(ctx context.Context, to *acs.Client, req *acs.Request, signer *STSCredentials, out any) (acs.Meta, error) {
	if signer != nil {
		meta, err := to.Call(ctx, req, func(context.Context) (acs.Credential, error) { return signer.credential(), nil }, out)
		return meta, apiError(req.Action, err)
	}
	var used acs.Credential
	credential := func(ctx context.Context) (cred acs.Credential, err error) {
		used, err = c.base.get(ctx)
		return used, err
	}
	meta, err := to.Call(ctx, req, credential, out)
	if err = apiError(req.Action, err); err != nil && c.base.rejected(err, used) {
		meta, err = to.Call(ctx, req, credential, out)
		err = apiError(req.Action, err)
	}
	return meta, err
}

func dataRequest(action string, params acs.Params) *acs.Request {
	req := &acs.Request{Action: action, Version: dataVersion, Form: params, Repeatable: true}
	for _, name := range []string{"WorkloadAccessToken", "UserToken", "SessionURI"} {
		if secret := params[name]; secret != "" {
			req.Secrets = append(req.Secrets, secret)
		}
	}
	return req
}
