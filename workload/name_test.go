// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Whatever stands in the file: a clear error, or a name; and writing a name
// keeps every other key.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"workload_identity_name":"a","role_arn":"r"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"workload_identity_name":null,"x":{"y":[1]}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "record.json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(file)
		if err != nil {
			return
		}
		keys := len(r)
		if _, had := r[nameKey]; !had {
			keys++
		}
		if _, err := r.name(); err != nil {
			return
		}
		if err := r.write(file, "new-name"); err != nil {
			t.Fatal(err)
		}
		again, err := readRecord(file)
		if err != nil {
			t.Fatal(err)
		}
		if name, err := again.name(); err != nil || name != "new-name" || len(again) != keys {
			t.Fatalf("%q became %v", content, again)
		}
		var plain map[string]any
		b, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(b, &plain) != nil {
			t.Fatal("the file is no JSON object any more")
		}
	})
}
