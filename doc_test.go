// SPDX-License-Identifier: Apache-2.0

package agentidentity_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/agent-identity/agent-identity-go"

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
	Module     *struct{ Path string }
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard,Module"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// TestImportsRunOneWay holds the architecture: each package may import those
// before it.
func TestImportsRunOneWay(t *testing.T) {
	allowed := map[string][]string{
		"identity":    {"internal/acs", "internal/tokencache"},
		"workload":    {"identity", "internal/tokencache", "internal/randid"},
		"credentials": {"identity", "workload", "internal/loopback"},
		"tools":       {"identity", "workload", "credentials"},
		"llm":         {"identity", "internal/sse", "internal/loopback"},

		"credentials/tokensource": {"credentials"}, "tools/mcp": {"identity", "credentials", "tools"}, "tools/oss": {"credentials", "internal/loopback"}, "tools/dingtalk": {"credentials", "internal/loopback"},

		"identity/control":      {"identity"},
		"identity/identitytest": {"identity", "internal/emulator", "internal/randid"},
		"internal/acs":          {"internal/loopback"}, "internal/tokencache": {}, "internal/sse": {}, "internal/randid": {}, "internal/loopback": {},
	}
	for _, p := range goList(t, "./...") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		may, public := allowed[name]
		for _, imported := range p.Imports {
			ours, found := strings.CutPrefix(imported, module+"/")
			if !found {
				continue
			}
			switch {
			case name == "identity/identitytest" && strings.HasPrefix(ours, "internal/emulator"):
			case public:
				require.Contains(t, may, ours, "%s must not import %s", name, ours)
			case strings.HasPrefix(name, "internal/emulator"):
				require.True(t, strings.HasPrefix(ours, "internal/emulator") || ours == "internal/randid" || ours == "internal/loopback", "the emulator must not import %s: everything is tested against it", ours)
			default:
				require.True(t, strings.HasPrefix(name, "examples/"), "%s is not on the map", name)
				require.False(t, strings.HasPrefix(ours, "internal/emulator"), "%s: the local cloud is offered by identitytest", name)
			}
		}
	}
}

// TestCredentialsStayLight: importing credentials must not drag in what only
// the examples use.
func TestCredentialsStayLight(t *testing.T) {
	modules := map[string]bool{}
	for _, p := range goList(t, "-deps", "./credentials") {
		if p.Module != nil && p.Module.Path != module {
			modules[p.Module.Path] = true
		}
	}
	allowed := []string{
		"github.com/aliyun/credentials-go", "github.com/alibabacloud-go/tea", "github.com/alibabacloud-go/debug",
		"github.com/json-iterator/go", "github.com/modern-go/concurrent", "github.com/modern-go/reflect2",
		"golang.org/x/net", "gopkg.in/ini.v1", "golang.org/x/oauth2", "golang.org/x/text",
	}
	for m := range modules {
		require.Contains(t, allowed, m)
	}
	require.LessOrEqual(t, len(modules), 8)
}

// TestFiles checks what a reader counts on: a licence line on top, and files
// of a size that can be read.
func TestFiles(t *testing.T) {
	skipped := []string{".git", "node_modules", "testdata", "dist"}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		require.True(t, strings.HasPrefix(string(b), "// SPDX-License-Identifier: Apache-2.0\n\n"), "%s: licence line", path)
		if !strings.HasSuffix(path, "_test.go") {
			require.LessOrEqual(t, strings.Count(string(b), "\n"), 450, "%s is too long", path)
		}
		return nil
	}))
}
