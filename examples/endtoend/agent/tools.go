// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/internal/acs"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/dingtalk"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

// ToolConfig says where the sample's tools get their credentials and answers. A
// tool whose provider, service or bucket is not given is not offered.
type ToolConfig struct {
	Agent *workload.Agent
	// Transport sends the requests to the example resources.
	Transport http.RoundTripper
	// ServiceURL is where the example resources are: simulated services that
	// really check the credentials.
	ServiceURL string
	// APIKeyProvider and OAuth2Provider are credential providers.
	APIKeyProvider string
	OAuth2Provider string
	OAuth2Scopes   []string
	// OSS says where files are; File is the one that is read where none is
	// named.
	OSS  oss.Config
	File string
	// DingTalk says where documents are, and DingTalkProvider and
	// DingTalkScopes with which grant.
	DingTalk         dingtalk.Config
	DingTalkProvider string
	DingTalkScopes   []string
	// CallbackURL is where the browser returns after consent.
	CallbackURL string
	// ConsentTimeout is how long a tool waits for the user's consent.
	ConsentTimeout time.Duration
}

// Arguments of the tools, as the model writes them.
type (
	weatherQuery struct {
		City string `json:"city,omitempty" jsonschema:"the city, for example Hangzhou; without one the user's home city"`
	}
	scheduleQuery struct {
		Date string `json:"date,omitempty" jsonschema:"the day as YYYY-MM-DD; without one today"`
	}
	fileQuery struct {
		Key    string `json:"key,omitempty"    jsonschema:"the object's name, for example reports/report.txt; without one the user's usual file"`
		Bucket string `json:"bucket,omitempty" jsonschema:"the bucket; without one the user's usual bucket"`
		Region string `json:"region,omitempty" jsonschema:"the bucket's region, for example cn-hangzhou; without one the usual region"`
	}
	timeQuery struct {
		Timezone string `json:"timezone,omitempty" jsonschema:"IANA time zone, for example Asia/Shanghai; without one the user's"`
	}
)

// NewTools makes those of the sample's tools that are configured. Each shows one
// kind of credential.
func NewTools(cfg ToolConfig) (*tools.Set, error) {
	var list []*tools.Tool
	sts := credentials.NewSTSSource(cfg.Agent, credentials.STSConfig{})
	oauth := func(provider string, scopes []string) *credentials.OAuth2Source {
		return credentials.NewOAuth2Source(cfg.Agent, credentials.OAuth2Config{
			Provider: provider, Scopes: scopes, CallbackURL: cfg.CallbackURL, OnAuthorization: authorize, Timeout: cfg.ConsentTimeout,
		})
	}
	if cfg.ServiceURL != "" {
		service, err := newServiceClient(cfg.ServiceURL, cfg.Transport)
		if err != nil {
			return nil, err
		}
		list = append(list, tools.New("get_schedule", "Looks up the signed-in user's schedule (meetings, appointments) of a day.", credentials.RequiresSTS(sts, service.schedule)))
		if cfg.APIKeyProvider != "" {
			key := credentials.NewAPIKeySource(cfg.Agent, credentials.APIKeyConfig{Provider: cfg.APIKeyProvider})
			list = append(list, tools.New("weather_search", "Looks up today's weather of a city.", credentials.RequiresAPIKey(key, service.weather)))
		}
		if cfg.OAuth2Provider != "" {
			list = append(list, tools.New("get_current_time", "Tells the current time of day.", credentials.RequiresOAuth2(oauth(cfg.OAuth2Provider, cfg.OAuth2Scopes), service.time)))
		}
	}
	if cfg.OSS.Bucket != "" {
		files := oss.New(cfg.OSS)
		read := func(ctx context.Context, cred credentials.STSCredential, in fileQuery) (oss.Object, error) {
			if in.Key == "" {
				in.Key = cfg.File
			}
			return files.Read(ctx, cred, oss.ReadInput(in))
		}
		list = append(list,
			tools.New("get_oss_object", "Reads a file (object) from the user's OSS storage.", credentials.RequiresSTS(sts, read)),
			tools.New("list_oss_objects", "Lists the names of the files (objects) in the user's OSS storage.", credentials.RequiresSTS(sts, files.List)))
	}
	if cfg.DingTalkProvider != "" {
		documents, err := dingtalk.New(cfg.DingTalk)
		if err != nil {
			return nil, err
		}
		docs := oauth(cfg.DingTalkProvider, cfg.DingTalkScopes)
		list = append(list,
			tools.New("read_dingtalk_document", "Reads the user's DingTalk document.", credentials.RequiresOAuth2(docs, documents.Read)),
			tools.New("write_dingtalk_document", "Overwrites the user's DingTalk document with a text.", credentials.RequiresOAuth2(docs, documents.Write)))
	}
	return tools.NewSet(list...)
}

// MCPConfig says how to get at an MCP server with a user's OAuth2 token.
type MCPConfig struct {
	Agent     *workload.Agent
	Transport http.RoundTripper
	// URL is the server's address, Provider and Scopes the grant that it wants.
	URL, Provider  string
	Scopes         []string
	CallbackURL    string
	ConsentTimeout time.Duration
	Log            *slog.Logger
}

// NewMCP makes the client of the MCP server for cloud resources.
func NewMCP(cfg MCPConfig) (*mcp.Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("agent: MCP server %q: %w", cfg.URL, err)
	}
	token := credentials.NewOAuth2Source(cfg.Agent, credentials.OAuth2Config{
		Provider: cfg.Provider, Scopes: cfg.Scopes, CallbackURL: cfg.CallbackURL, OnAuthorization: authorize, Timeout: cfg.ConsentTimeout,
	})
	return mcp.New(mcp.Config{
		Name: "resources", Description: "Alibaba Cloud resources such as ECS instances and servers", URL: cfg.URL, Logger: cfg.Log,
		Transport: &credentials.Transport[credentials.OAuth2Token]{Source: token, Hosts: []string{u.Host}, Base: cfg.Transport},
	})
}

// NewGateway makes the client of an AI gateway: an MCP server that takes the
// workload access token of the agent, which says for whom it calls. Nobody is
// asked for consent. An address that ends in /sse speaks the older transport,
// and gets the token without "Bearer", as the original sample sends it there.
func NewGateway(cfg MCPConfig) (*mcp.Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("agent: AI gateway %q: %w", cfg.URL, err)
	}
	transport := &credentials.Transport[credentials.WorkloadToken]{
		Source: credentials.NewWorkloadTokenSource(cfg.Agent), Hosts: []string{u.Host}, Base: cfg.Transport,
	}
	old := strings.HasSuffix(u.Path, "/sse")
	if old {
		transport.Authorize = func(h http.Header, token credentials.WorkloadToken) { h.Set("Authorization", token.Token.Reveal()) }
	}
	return mcp.New(mcp.Config{
		Name: "gateway", Description: "tools behind the AI gateway", URL: cfg.URL, SSE: old, Logger: cfg.Log, Transport: transport,
	})
}

// serviceClient calls the example resources.
type serviceClient struct {
	url  string
	http *http.Client
	acs  *acs.Client
}

func newServiceClient(serviceURL string, transport http.RoundTripper) (*serviceClient, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: transport}
	signed, err := acs.New(acs.Config{Endpoint: serviceURL, HTTPClient: client})
	if err != nil {
		return nil, err
	}
	return &serviceClient{url: strings.TrimRight(serviceURL, "/"), http: client, acs: signed}, nil
}

func (c *serviceClient) weather(ctx context.Context, key credentials.APIKey, in weatherQuery) (json.RawMessage, error) {
	return c.get(ctx, "/demo/weather", url.Values{"city": {in.City}}, "X-Api-Key", key.Key.Reveal())
}

func (c *serviceClient) time(ctx context.Context, token credentials.OAuth2Token, in timeQuery) (json.RawMessage, error) {
	return c.get(ctx, "/demo/time", url.Values{"timezone": {in.Timezone}}, "Authorization", "Bearer "+token.AccessToken.Reveal())
}

// schedule signs its request as every Alibaba Cloud service wants it.
func (c *serviceClient) schedule(ctx context.Context, cred credentials.STSCredential, in scheduleQuery) (json.RawMessage, error) {
	var out json.RawMessage
	_, err := c.acs.Call(ctx, &acs.Request{
		Action: "GetSchedule", Version: "2026-01-01", Method: http.MethodGet, Path: "/demo/schedule",
		Query: acs.Params{"date": in.Date}, Repeatable: true,
	}, func(context.Context) (acs.Credential, error) {
		return acs.Credential{
			AccessKeyID: cred.AccessKeyID, AccessKeySecret: cred.AccessKeySecret.Reveal(), SecurityToken: cred.SecurityToken.Reveal(),
		}, nil
	}, &out)
	if e, ok := errors.AsType[*acs.Error](err); ok {
		return nil, serviceError(e.StatusCode, e.Code, e.Message)
	}
	return out, err
}

func (c *serviceClient) get(ctx context.Context, path string, query url.Values, header, value string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(header, value)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the service did not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("the service did not answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK && json.Valid(body) {
		return body, nil
	}
	var e struct{ Code, Message string }
	_ = json.Unmarshal(body, &e)
	return nil, serviceError(resp.StatusCode, e.Code, e.Message)
}

func serviceError(status int, code, message string) error {
	err := fmt.Errorf("the service answered status %d (%s): %s", status, code, message)
	if status == http.StatusUnauthorized || strings.HasPrefix(code, "InvalidSecurityToken") {
		err = fmt.Errorf("%w: %w", err, credentials.ErrRejected)
	}
	return err
}
