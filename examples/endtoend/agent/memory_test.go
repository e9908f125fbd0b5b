// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/llm"
	"github.com/agent-identity/agent-identity-go/tools"
)

// trimmed are turns of the kind that a conversation has.
func turns(n, callsEach int, size int) (history []llm.Message) {
	for i := range n {
		history = append(history, llm.Message{Role: llm.RoleUser, Content: fmt.Sprintf("question %d", i)})
		for j := range callsEach {
			id := fmt.Sprintf("%d-%d", i, j)
			history = append(history,
				llm.Message{Role: llm.RoleAssistant, ToolCalls: []llm.ToolCall{{ID: id, Name: "t", Arguments: "{}"}}},
				llm.Message{Role: llm.RoleTool, ToolCallID: id, Content: strings.Repeat("x", size)})
		}
		history = append(history, llm.Message{Role: llm.RoleAssistant, Content: fmt.Sprintf("answer %d", i)})
	}
	return history
}

func TestTrim(t *testing.T) {
	for name, tt := range map[string]struct {
		history []llm.Message
		want    int // messages
	}{
		"empty":           {nil, 0},
		"short":           {turns(3, 2, 10), 18},
		"many messages":   {turns(50, 2, 10), 60},
		"not whole turns": {turns(50, 3, 10), 56},
		"many bytes":      {turns(20, 1, 64<<10), 12},
		"one long turn":   {turns(1, 40, 10), 2},
		"one big turn":    {turns(1, 10, 32<<10), 2},
		"huge question":   {[]llm.Message{{Role: llm.RoleUser, Content: strings.Repeat("界", 200<<10), Images: []string{"data:image/png;base64,AA=="}}, {Role: llm.RoleAssistant, Content: "a"}}, 2},
		"no question":     {[]llm.Message{{Role: llm.RoleAssistant, Content: "a"}}, 0},
		"no answer":       {append(turns(1, 40, 10), llm.Message{Role: llm.RoleUser, Content: strings.Repeat("x", 1<<20)}), 0},
	} {
		got := trim(tt.history)
		require.Len(t, got, tt.want, name)
		if len(got) == 0 {
			continue
		}
		require.Equal(t, llm.RoleUser, got[0].Role, name)
		require.Equal(t, tt.history[len(tt.history)-1], got[len(got)-1], "%s: the youngest stays", name)
		called, weight := map[string]bool{}, 0
		for _, m := range got {
			weight += size(m)
			for _, c := range m.ToolCalls {
				called[c.ID] = true
			}
			if m.Role == llm.RoleTool {
				require.True(t, called[m.ToolCallID], "%s: a result without its call", name)
				delete(called, m.ToolCallID)
			}
		}
		require.Empty(t, called, "%s: calls without results", name)
		require.LessOrEqual(t, weight, maxMemoryBytes, name)
	}
}

// agentProcess makes this test binary an agent service of its own.
const agentProcess = "TEST_AGENT_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(agentProcess) == "" {
		os.Exit(m.Run())
	}
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	memory, err := store.OpenFile(os.Getenv("TEST_STORE"))
	check(err)
	verifier, err := idtoken.New(os.Getenv("TEST_ISSUER"), identitytest.LoginClientID)
	check(err)
	model, err := llm.New(llm.Config{
		Model: "simulated", BaseURL: os.Getenv("TEST_MODEL"), APIKey: llm.StaticKey(identity.NewSecret(os.Getenv("TEST_KEY"))),
	})
	check(err)
	set, err := tools.NewSet()
	check(err)
	srv := httptest.NewServer(New(Config{Model: model, Tools: set, Verifier: verifier, Store: memory, Log: slog.New(slog.DiscardHandler)}))
	fmt.Println(srv.URL)
	select {}
}

// An agent that is killed while it answers has lost no answer that was complete,
// and its successor goes on from there.
func TestKilledInMidChat(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	cloud := identitytest.NewServer(t)
	path := filepath.Join(t.TempDir(), "agent.db")
	run := func() (string, *exec.Cmd) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), agentProcess+"=1", "TEST_STORE="+path, "TEST_ISSUER="+cloud.Issuer(), "TEST_MODEL="+cloud.ModelURL(), "TEST_KEY="+cloud.ModelKey().Reveal())
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		address, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSpace(address), cmd
	}
	token := cloud.IDToken("alice").Reveal()
	ask := func(address, chat string) bool { // whether the answer is complete
		body, _ := json.Marshal(map[string]any{"session_id": chat, "user_id": token, "input": []any{
			map[string]any{"role": "user", "content": []any{map[string]any{"type": "text", "text": "Hello there"}}},
		}})
		resp, err := http.Post(address+"/process", "application/json", bytes.NewReader(body))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"object":"response","status":"completed"`) {
				return true
			}
		}
		return false
	}

	address, cmd := run()
	const chats = 8
	var complete [chats]int
	var total atomic.Int32
	enough := make(chan struct{})
	var wg sync.WaitGroup
	for i := range chats {
		wg.Go(func() {
			for ask(address, fmt.Sprintf("chat-%d", i)) {
				complete[i]++
				if total.Add(1) == 3*chats {
					close(enough)
				}
			}
		})
	}
	<-enough
	require.NoError(t, cmd.Process.Kill()) // SIGKILL
	_ = cmd.Wait()
	wg.Wait()

	address, cmd = run()
	for i := range chats {
		require.True(t, ask(address, fmt.Sprintf("chat-%d", i)))
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	memory, err := store.OpenFile(path)
	require.NoError(t, err)
	defer memory.Close()
	for i := range chats {
		b, err := memory.Get(t.Context(), memoryKey(idtoken.Claims{Issuer: cloud.Issuer(), Subject: "alice"}, fmt.Sprintf("chat-%d", i)))
		require.NoError(t, err)
		var history []llm.Message
		require.NoError(t, json.Unmarshal(b, &history))
		questions := 0
		for _, m := range history {
			if m.Role == llm.RoleUser {
				questions++
			}
		}
		require.GreaterOrEqual(t, questions, min(complete[i]+1, maxMemory/2), "turns of chat %d", i)
		require.Len(t, history, 2*questions, "each with its answer")
	}
}
