// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"github.com/agent-identity/agent-identity-go/internal/emulator/mcp"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oss"
)

// OSSEndpoint is the endpoint of the cloud's Object Storage Service, for clients
// that use addresses of the form endpoint/bucket/key, as aliyun-oss-go-sdk does
// for an IP address.
func (s *Server) OSSEndpoint() string { return s.cloud.URL }

// AddBucket adds an empty bucket to the cloud's Object Storage Service, or
// replaces one. Only users, named by subject or user id, may use it; without
// any, everybody may who has credentials of the account.
func (s *Server) AddBucket(name, region string, users ...string) {
	s.cloud.OSS.AddBucket(oss.Bucket{Name: name, Region: region, Users: users})
}

// PutObject stores an object in a bucket. It panics if there is no such bucket.
func (s *Server) PutObject(bucket, key string, body []byte) {
	if !s.cloud.OSS.Put(bucket, key, body, "") {
		panic("identitytest: there is no bucket " + bucket)
	}
}

// DingTalkEndpoint is the address of the cloud's DingTalk. Its documents are
// open to access tokens of [DingTalkProvider].
func (s *Server) DingTalkEndpoint() string { return s.cloud.URL }

// AddDocument adds a DingTalk document that users, named by subject, may read
// and write.
func (s *Server) AddDocument(id, content string, users ...string) {
	s.cloud.DingTalk.AddDocument(id, content, users...)
}

// Document returns the content of a DingTalk document, and whether there is
// one.
func (s *Server) Document(id string) (string, bool) { return s.cloud.DingTalk.Document(id) }

// MCPURL is the address of the cloud's MCP server, "resourcecenter", which lists
// the cloud resources of the user. It speaks streamable HTTP and takes access
// tokens of [MCPProvider] with the scope [MCPScope].
func (s *Server) MCPURL() string { return s.cloud.URL + mcp.Path }

// AddMCPTool adds a tool that answers with text to the cloud's MCP server, which
// tells its clients.
func (s *Server) AddMCPTool(name, description, text string) {
	s.cloud.MCP.Announce(name, description, text)
}

// GatewayURL is the address of the cloud's AI gateway: an MCP server that takes
// workload access tokens, with or without "Bearer". Its tool whoami says which
// agent calls for whom; restart_server is for alice alone.
func (s *Server) GatewayURL() string { return s.cloud.URL + mcp.GatewayPath }
