// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func Benchmark(b *testing.B) {
	for _, r := range rows {
		b.Run(r.name, r.run)
	}
}
