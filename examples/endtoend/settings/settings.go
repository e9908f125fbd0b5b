// SPDX-License-Identifier: Apache-2.0

// Package settings reads what the sample's services are configured with: from
// the environment, else from config.yml, else a default. The names are the
// original sample's, and some more.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/agent-identity/agent-identity-go/identity"
)

// Settings configure the services. The tag env is the name in the environment
// and in config.yml.
type Settings struct {
	// Sign-in.
	Issuer      string `env:"INBOUND_ISSUER"       default:"https://oauth.aliyun.com"`
	ClientID    string `env:"INBOUND_APP_ID"`
	RedirectURL string `env:"INBOUND_REDIRECT_URI" default:"http://localhost:8090" kind:"url"`
	BaseURL     string `env:"APP_REDIRECT_URI"     default:"http://localhost:8090" kind:"url"`

	// The backend's way to the agent.
	AgentURL   string          `env:"AGENT_ENDPOINT"     default:"http://localhost:8080/process" kind:"url"`
	AgentToken identity.Secret `env:"AGENT_BEARER_TOKEN"`
	Framework  string          `env:"AGENT_FRAMEWORK"    default:"AgentScope"`

	// What the backend allows.
	SessionIdle    time.Duration  `env:"SESSION_IDLE"           default:"2h"`
	SignInLimit    int            `env:"SIGN_INS_PER_MINUTE"    default:"60"`
	ChatLimit      int            `env:"CHATS_PER_MINUTE"       default:"60"`
	RequestLimit   int            `env:"REQUESTS_PER_MINUTE"    default:"1200"`
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	AllowedOrigins []string       `env:"ALLOWED_ORIGINS"`
	Frontend       string         `env:"FRONTEND"`

	// The model.
	ModelKey     identity.Secret `env:"DASHSCOPE_API_KEY"`
	Model        string          `env:"DASHSCOPE_MODEL_NAME"    default:"qwen3-max"`
	ModelBaseURL string          `env:"DASHSCOPE_HTTP_BASE_URL" kind:"url"`

	// The tools.
	ConsentTimeout   time.Duration `env:"CONSENT_TIMEOUT"   default:"3m"`
	ServiceURL       string        `env:"DEMO_SERVICE"      kind:"url"`
	APIKeyProvider   string        `env:"API_KEY_PROVIDER"`
	OAuth2Provider   string        `env:"OAUTH2_PROVIDER"`
	OAuth2Scopes     []string      `env:"OAUTH2_SCOPES"`
	MCPServer        string        `env:"MCP_SERVER"        kind:"url"`
	Gateway          string        `env:"DEMO_MCP_SERVER"   kind:"url"` // an AI gateway
	MCPProvider      string        `env:"MCP_PROVIDER"`
	MCPScopes        []string      `env:"MCP_SCOPES"        default:"/acs/mcp-server"`
	Bucket           string        `env:"OSS_BUCKET"`
	BucketRegion     string        `env:"OSS_REGION"        default:"cn-hangzhou"`
	BucketFile       string        `env:"OSS_FILE"`
	OSSEndpoint      string        `env:"OSS_ENDPOINT"      kind:"url"`
	DingTalkProvider string        `env:"DINGTALK_PROVIDER"`
	DingTalkEndpoint string        `env:"DINGTALK_ENDPOINT" kind:"url"`
	Document         string        `env:"DINGTALK_DOCUMENT"`

	// State and log.
	Store     string          `env:"STORE"`
	StoreKey  identity.Secret `env:"STORE_KEY"`
	LogLevel  slog.Level      `env:"LOG_LEVEL"  default:"info"`
	LogFormat string          `env:"LOG_FORMAT" default:"text"`
}

// ignored are keys of the original's files that nothing of ours reads.
var ignored = []string{"APP_NAME", "DEBUG", "HOST", "PORT", "RELOAD", "FC_RUN_CMD"}

// Load reads the settings. getenv is os.Getenv; an empty variable counts as
// none. Of files those that exist are read, earlier ones first. unknown are the
// keys in them that mean nothing. The error names everything that is wrong, at
// once.
func Load(getenv func(string) string, files ...string) (s Settings, unknown []string, err error) {
	inFiles := map[string]string{}
	var errs []error
	for _, name := range files {
		values, err := readFile(name)
		if err != nil {
			errs = append(errs, err)
		}
		for key, value := range values {
			if _, have := inFiles[key]; !have {
				inFiles[key] = value
			}
		}
	}
	known := slices.Clone(ignored)
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name := tag.Get("env")
		known = append(known, name)
		text, from := strings.TrimSpace(getenv(name)), "the environment"
		if text == "" {
			text, from = inFiles[name], "the file"
		}
		if text == "" {
			text, from = tag.Get("default"), "the default"
		}
		if text == "" {
			continue
		}
		if err := set(v.Field(i), text, tag.Get("kind")); err != nil {
			shown := strconv.Quote(text)
			if v.Field(i).Type() == reflect.TypeFor[identity.Secret]() {
				shown = "(hidden)"
			}
			errs = append(errs, fmt.Errorf("%s is %s in %s: %w", name, shown, from, err))
		}
	}
	for key := range inFiles {
		if !slices.Contains(known, key) && !strings.HasPrefix(key, "SETUP_") {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	if !slices.Contains([]string{"text", "json"}, s.LogFormat) {
		errs = append(errs, fmt.Errorf("LOG_FORMAT is %q: want text or json", s.LogFormat))
	}
	return s, unknown, errors.Join(errs...)
}

// readFile reads a file of "key: value" lines; one that does not exist is empty.
func readFile(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseFile(name, text)
}

// parseFile takes values as they are written: a number does not become one.
func parseFile(name string, text []byte) (map[string]string, error) {
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return nil, fmt.Errorf("%s: want lines of the form NAME: value: %w", filepath.Base(name), err)
	}
	values := map[string]string{}
	for key, node := range nodes {
		switch {
		case node.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("%s: %s: want a plain value; several are separated by commas", filepath.Base(name), key)
		case node.Tag != "!!null":
			values[key] = strings.TrimSpace(node.Value)
		}
	}
	return values, nil
}

func set(v reflect.Value, text, kind string) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		if u, err := url.Parse(text); kind == "url" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return errors.New("want an address such as https://host/path")
		}
		*p = text
		if kind == "url" {
			*p = strings.TrimRight(text, "/")
		}
	case *identity.Secret:
		*p = identity.NewSecret(text)
	case *[]string:
		*p = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	case *[]netip.Prefix:
		for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
			prefix, err := netip.ParsePrefix(one)
			if err != nil {
				return errors.New("want networks such as 10.0.0.0/8, separated by commas")
			}
			*p = append(*p, prefix)
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return errors.New("want a positive duration such as 90s or 2h")
		}
		*p = d
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("want a whole number")
		}
		*p = n
	case *slog.Level:
		if err := p.UnmarshalText([]byte(text)); err != nil {
			return errors.New("want debug, info, warn or error")
		}
	default:
		panic("settings: no way to read a " + v.Type().String())
	}
	return nil
}

// Missing names those settings, of the given ones, that are not set.
func (s *Settings) Missing(names ...string) error {
	var missing []string
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("env"); slices.Contains(names, name) && v.Field(i).IsZero() {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("missing settings: %s; set them in the environment or in config.yml", strings.Join(missing, ", "))
}

// Environ is the settings as variables of the environment, for a process that is
// to have the same; those that are not set are left out.
func (s *Settings) Environ() []string {
	var out []string
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		var text string
		switch x := v.Field(i).Interface().(type) {
		case identity.Secret:
			text = x.Reveal()
		case []string:
			text = strings.Join(x, ",")
		case []netip.Prefix:
			for j, p := range x {
				if j > 0 {
					text += ","
				}
				text += p.String()
			}
		default:
			text = fmt.Sprint(x)
		}
		out = append(out, v.Type().Field(i).Tag.Get("env")+"="+text)
	}
	return out
}
