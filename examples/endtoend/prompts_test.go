// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
)

// The prompts of the README, in English and Chinese, and some that take several
// steps. Each user is asked for consent where a tool needs it, once.
func TestPrompts(t *testing.T) {
	a, _ := newApp(t)
	for user, prompts := range map[string][]struct {
		prompt, provider, want string // provider: who asks for consent
	}{
		"alice": {
			{"How's the weather today?", "", "temperature celsius"},
			{"What's my schedule for today?", "", "Stand-up of Alice"},
			{"What time is it now?", "test-oauth2", "Asia/Shanghai"},
			{"Read my OSS file", "", "sales are up 7 percent"},
			{"List my OSS files", "", "notes/todo.txt"},
			{"Help me query my ECS instance list", "test-mcp", "i-bp1alice01"},
			{"Write 'hello' to my DingTalk document", "test-dingtalk", "written: 5"},
			{"What is in my DingTalk document?", "", "hello"},
			{"Read report.txt from my OSS bucket and write it to my DingTalk document", "", "document id: demo-document"},
			{"What does my DingTalk document say?", "", "sales are up 7 percent"},
		},
		"bob": {
			{"今天天气怎么样？", "", "temperature celsius"},
			{"我今天有什么日程安排？", "", "Bob"},
			{"现在几点了？", "test-oauth2", "Asia/Shanghai"},
			{"读取我的 OSS 文件", "", "销售额增长"},
			{"查询我的 ECS 实例列表", "test-mcp", "i-bp1bob01"},
			{"把“你好”写入我的钉钉文档", "test-dingtalk", "written: 6"},
			{"读取我的钉钉文档", "", "你好"},
			{"读取 OSS 里的 notes/todo.txt，然后把它写入我的钉钉文档", "", "document id: demo-document"},
			{"读取我的钉钉文档", "", "Try the consent flow"},
			{"请把 report.txt 复制到我的钉钉文档", "", "document id: demo-document"},
			{"读取我的钉钉文档", "", "销售额增长"},
		},
	} {
		b := newBrowser(t, a)
		b.signIn(user)
		for _, p := range prompts {
			asked := ""
			got := b.say(p.prompt, func(auth protocol.Authorization) {
				if auth.Status != protocol.StatusInProgress {
					return
				}
				asked = auth.Provider
				status, page := b.consent(auth, "allow")
				require.Equal(t, 200, status, page)
			})
			require.Nil(t, got.failure, p.prompt)
			require.Equal(t, p.provider, asked, "%s: who asked for consent", p.prompt)
			require.Contains(t, got.text, p.want, p.prompt)
		}
	}
	require.Equal(t, 1, a.cloud.Count("SearchResources", "alice"))
	require.Equal(t, 1, a.cloud.Count("SearchResources", "bob"))
}
