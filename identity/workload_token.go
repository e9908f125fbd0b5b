// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"fmt"

	"github.com/agent-identity/agent-identity-go/internal/acs"
)

// GetWorkloadAccessToken returns a token for the workload identity alone,
// without a user. No expiry is returned; the token lives about five minutes.
//
// It is a bearer secret worth the workload identity's RAM role: see
// [Client.AssumeRoleForWorkloadIdentity].
func (c *Client) GetWorkloadAccessToken(ctx context.Context, workloadIdentityName string) (Secret, error) {
	return c.workloadToken(ctx, "GetWorkloadAccessToken", acs.Params{"WorkloadIdentityName": workloadIdentityName})
}

// GetWorkloadAccessTokenForJWT is GetWorkloadAccessToken on behalf of the user
// whose JWT (ID token) is given. The service verifies it against the identity
// provider of the workload identity.
func (c *Client) GetWorkloadAccessTokenForJWT(ctx context.Context, workloadIdentityName string, userToken Secret) (Secret, error) {
	if userToken.IsZero() {
		return Secret{}, fmt.Errorf("identity: GetWorkloadAccessTokenForJWT: the user token is empty; without a user, call GetWorkloadAccessToken")
	}
	return c.workloadToken(ctx, "GetWorkloadAccessTokenForJWT", acs.Params{
		"WorkloadIdentityName": workloadIdentityName, "UserToken": userToken.Reveal(),
	})
}

// GetWorkloadAccessTokenForUserID is GetWorkloadAccessToken on behalf of a
// user named by the application. The service does not verify who that is.
func (c *Client) GetWorkloadAccessTokenForUserID(ctx context.Context, workloadIdentityName, userID string) (Secret, error) {
	if userID == "" {
		return Secret{}, fmt.Errorf("identity: GetWorkloadAccessTokenForUserId: the user id is empty; without a user, call GetWorkloadAccessToken")
	}
	return c.workloadToken(ctx, "GetWorkloadAccessTokenForUserId", acs.Params{
		"WorkloadIdentityName": workloadIdentityName, "UserId": userID,
	})
}

func (c *Client) workloadToken(ctx context.Context, action string, params acs.Params) (Secret, error) {
	var out struct{ WorkloadAccessToken Secret }
	meta, err := c.call(ctx, c.data, dataRequest(action, params), nil, &out)
	if err != nil {
		return Secret{}, err
	}
	if out.WorkloadAccessToken.IsZero() {
		return Secret{}, incomplete(action, "WorkloadAccessToken", meta)
	}
	return out.WorkloadAccessToken, nil
}
