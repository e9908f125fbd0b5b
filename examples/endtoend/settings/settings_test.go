// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(file, []byte(`# comment
DASHSCOPE_API_KEY: 'sk-file'
DASHSCOPE_MODEL_NAME: 1e5
MCP_SERVER:
OSS_BUCKET: 007
SESSION_IDLE: 30m
OSS_REGION: cn-shanghai
PORT: 8080
SETUP_NAME: x
DASHSCOPE_MODELNAME: typo
`), 0o600))
	s, unknown, err := Load(env(map[string]string{"SESSION_IDLE": "10m", "OSS_REGION": "", "LOG_LEVEL": "debug", "TRUSTED_PROXIES": "10.0.0.0/8,::1/128"}), file, file+".missing")
	require.NoError(t, err)
	require.Equal(t, []string{"DASHSCOPE_MODELNAME"}, unknown)
	require.Equal(t, 10*time.Minute, s.SessionIdle, "the environment comes first")
	require.Equal(t, "cn-shanghai", s.BucketRegion, "an empty variable counts as none")
	require.Equal(t, "sk-file", s.ModelKey.Reveal())
	require.Equal(t, "http://localhost:8090", s.BaseURL, "else the default")
	require.Empty(t, s.MCPServer)
	require.Equal(t, slog.LevelDebug, s.LogLevel)
	require.Len(t, s.TrustedProxies, 2)
	require.NotContains(t, fmt.Sprintf("%+v", s), "sk-file")

	// What Environ writes, Load reads.
	again := map[string]string{}
	for _, e := range s.Environ() {
		name, value, _ := cut(e)
		again[name] = value
	}
	same, _, err := Load(env(again))
	require.NoError(t, err)
	require.Equal(t, s, same)
}

func cut(e string) (string, string, bool) {
	for i := range e {
		if e[i] == '=' {
			return e[:i], e[i+1:], true
		}
	}
	return e, "", false
}

// Weakness 32 of the original: values that look like numbers change their type.
func TestWeakness32ValuesStayAsTheyAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(file, []byte("OSS_BUCKET: 007\nDASHSCOPE_MODEL_NAME: 1e5\nINBOUND_APP_ID: 4567890123456789012\nDINGTALK_DOCUMENT: nan\nOSS_FILE: true\n"), 0o600))
	s, _, err := Load(env(nil), file)
	require.NoError(t, err)
	require.Equal(t, []string{"007", "1e5", "4567890123456789012", "nan", "true"}, []string{s.Bucket, s.Model, s.ClientID, s.Document, s.BucketFile})
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	_, _, err := Load(env(map[string]string{
		"SESSION_IDLE": "soon", "CHATS_PER_MINUTE": "many", "APP_REDIRECT_URI": "localhost:8090", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "TRUSTED_PROXIES": "proxy",
	}))
	for _, want := range []string{"SESSION_IDLE", "CHATS_PER_MINUTE", "APP_REDIRECT_URI", "LOG_LEVEL", "LOG_FORMAT", "TRUSTED_PROXIES"} {
		require.ErrorContains(t, err, want)
	}
	file := filepath.Join(t.TempDir(), "config.yml")
	for _, text := range []string{"- a\n- b\n", "OSS_BUCKET: [a, b]\n", "OSS_BUCKET: {a: b}\n", "a: b: c\n", "\t"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, _, err := Load(env(nil), file)
		require.ErrorContains(t, err, "config.yml", "%q", text)
	}
	var s Settings
	require.EqualError(t, s.Missing("INBOUND_APP_ID", "MCP_SERVER"), "missing settings: INBOUND_APP_ID, MCP_SERVER; set them in the environment or in config.yml")
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("A: b\n"))
	f.Add([]byte("OSS_BUCKET: [a]\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseFile("config.yml", text)
	})
}
