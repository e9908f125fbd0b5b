// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

// What is not configured is not offered.
func TestToolsThatAreConfigured(t *testing.T) {
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	self, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	defer self.Close()
	for _, tt := range []struct {
		cfg  ToolConfig
		want []string
	}{
		{ToolConfig{}, nil},
		{ToolConfig{APIKeyProvider: "p", OAuth2Provider: "p"}, nil},
		{ToolConfig{ServiceURL: cloud.URL()}, []string{"get_schedule"}},
		{ToolConfig{ServiceURL: cloud.URL(), APIKeyProvider: "p"}, []string{"get_schedule", "weather_search"}},
		{ToolConfig{OSS: oss.Config{Bucket: "b"}}, []string{"get_oss_object", "list_oss_objects"}},
		{ToolConfig{DingTalkProvider: "p"}, []string{"read_dingtalk_document", "write_dingtalk_document"}},
	} {
		tt.cfg.Agent = self
		set, err := NewTools(tt.cfg)
		require.NoError(t, err)
		var names []string
		for tool := range set.All() {
			names = append(names, tool.Name())
		}
		require.Equal(t, tt.want, names)
	}
}
