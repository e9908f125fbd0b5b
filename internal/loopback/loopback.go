// SPDX-License-Identifier: Apache-2.0

// Package loopback tells addresses of this machine alone from others: only to
// them may a secret travel over plain HTTP.
package loopback

import "net"

// Is reports whether host, without a port, is localhost or a loopback address.
func Is(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
