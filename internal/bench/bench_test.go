// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func Benchmark(b *testing.B) {
	for _, r := range rows {
		b.Run(r.name, r.run)
	}
}

// What does not depend on the machine is held: allocations.
func TestAllocations(t *testing.T) {
	for name, most := range map[string]int64{
		"uncached call, identity.Client": 130, "cache hit, 1 user": 0, "cache hit, 1,000 users, all cores": 0, "decorated call, all kept": 0,
	} {
		for _, r := range rows {
			if r.name == name {
				if got := testing.Benchmark(r.run).AllocsPerOp(); got > most {
					t.Errorf("%s: %d allocations, at most %d", name, got, most)
				}
			}
		}
	}
}
