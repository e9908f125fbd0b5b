// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/randid"
	"github.com/agent-identity/agent-identity-go/internal/tokencache"
)

// ErrNoName reports that no workload identity is configured.
var ErrNoName = errors.New("workload: no workload identity is named: set Config.Name, the environment variable " +
	EnvName + ", or workload_identity_name in .config.json; or allow creating one with Config.CreateIfMissing")

const (
	defaultConfigFile = ".config.json"
	nameKey           = "workload_identity_name"
)

// name is the workload identity's name: known, or to be created on first use.
type name struct {
	known   string
	file    string
	request identity.CreateWorkloadIdentityRequest
	created *tokencache.Cache[struct{}, string]
}

func resolveName(cfg Config) (*name, error) {
	n := &name{known: cfg.Name, file: cfg.ConfigFile}
	if n.file == "" {
		n.file = defaultConfigFile
	}
	if n.known == "" {
		n.known = strings.TrimSpace(os.Getenv(EnvName))
	}
	if n.known != "" {
		return n, nil
	}
	record, err := readRecord(n.file)
	if err != nil {
		return nil, err
	}
	if n.known, err = record.name(); err != nil {
		return nil, fmt.Errorf("workload: %s: %w", n.file, err)
	}
	if n.known != "" {
		return n, nil
	}
	if !cfg.CreateIfMissing {
		return nil, ErrNoName
	}
	n.request = cfg.NewIdentity
	if n.request.Name == "" {
		n.request.Name = "workload-" + randid.Hex(4)
	}
	if n.request.SessionBindingEnabled == nil {
		n.request.SessionBindingEnabled = new(true)
	}
	if n.request.AllowedReturnURLs == nil {
		n.request.AllowedReturnURLs = []string{}
	}
	n.created = tokencache.New[struct{}, string](tokencache.Config[struct{}]{MaxEntries: 1, LoadTimeout: time.Minute})
	return n, nil
}

func (n *name) get(ctx context.Context, client *identity.Client) (string, error) {
	if n.created == nil {
		return n.known, nil
	}
	return n.created.Get(ctx, struct{}{}, func(ctx context.Context) (string, time.Time, error) {
		name, err := n.create(ctx, client)
		return name, time.Now().AddDate(100, 0, 0), err
	})
}

func (n *name) create(ctx context.Context, client *identity.Client) (string, error) {
	// Another process may have been faster.
	record, err := readRecord(n.file)
	if err != nil {
		return "", err
	}
	if name, err := record.name(); err != nil || name != "" {
		return name, err
	}
	created, err := client.CreateWorkloadIdentity(ctx, &n.request)
	switch {
	case errors.Is(err, identity.ErrAlreadyExists):
		// Ours, from an attempt whose answer was lost: the made-up name is
		// random, and a chosen one was meant to be this.
	case err != nil:
		return "", err
	default:
		n.request.Name = created.Name
	}
	if err := record.write(n.file, n.request.Name); err != nil {
		return "", fmt.Errorf("workload: workload identity %q was created, but recording its name failed: %w", n.request.Name, err)
	}
	return n.request.Name, nil
}

// record is the configuration file: a flat JSON object whose other keys are
// somebody else's and stay as they are.
type record map[string]json.RawMessage

func readRecord(file string) (record, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r == nil {
		return nil, fmt.Errorf("workload: %s: want a JSON object, such as {%q: \"my-agent\"}", file, nameKey)
	}
	return r, nil
}

func (r record) name() (string, error) {
	raw, ok := r[nameKey]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return "", fmt.Errorf("key %s is not a text", nameKey)
	}
	return name, nil
}

// write replaces the file at once, or leaves it: a reader sees the old
// content or the new, also after a crash.
func (r record) write(file, name string) error {
	raw, err := json.Marshal(name)
	if err != nil {
		return err
	}
	if bytes.Equal(r[nameKey], raw) {
		return nil
	}
	r[nameKey] = raw
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
