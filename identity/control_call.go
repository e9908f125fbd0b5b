// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// ControlCall is one call of an operation of the control plane (agentidentity
// 2025-09-01), for operations that have no method of their own. Package
// identity/control has methods for those that agents need.
type ControlCall struct {
	// Action is the operation, such as "GetUserPool". Required.
	Action string
	// Params are the parameters by name. Text, booleans and integers are sent as
	// text, a [Secret] as what it hides, everything else as JSON.
	Params map[string]any
	// Secrets are values within Params that no error may show. A Secret that is
	// a parameter by itself need not be named.
	Secrets []Secret
	// Repeatable says that calling twice is harmless, so that the call may be
	// repeated when its answer was lost.
	Repeatable bool
}

// CallControl makes a call and decodes its answer into out, a pointer or nil. It
// returns the service's request id. Errors are those of the client's other
// methods.
func (c *Client) CallControl(ctx context.Context, call *ControlCall, out any) (requestID string, err error) {
	req := &acs.Request{Action: call.Action, Version: controlVersion, Form: acs.Params{}, Repeatable: call.Repeatable}
	for _, s := range call.Secrets {
		if !s.IsZero() {
			req.Secrets = append(req.Secrets, s.Reveal())
		}
	}
	for name, value := range call.Params {
		if s, ok := value.(Secret); ok {
			if value = s.Reveal(); !s.IsZero() {
				req.Secrets = append(req.Secrets, s.Reveal())
			}
		}
		req.Form.Set(name, value)
	}
	meta, err := c.call(ctx, c.control, req, nil, out)
	return meta.RequestID, err
}
