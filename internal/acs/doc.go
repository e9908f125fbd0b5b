// SPDX-License-Identifier: Apache-2.0

// Package acs calls Alibaba Cloud OpenAPI operations over net/http.
//
// It knows how a call travels: RPC style (parameters in a form or in the
// query) and ROA style (a path with a form or a JSON body), the signature
// ACS3-HMAC-SHA256, security tokens, anonymous operations, the shapes of
// answers and errors, and when a call may be repeated. It knows nothing of
// the products; their operations are described by a [Request].
//
// The requests equal those of the official clients byte for byte, but for
// the user agent: the tests reproduce the recordings in testdata/vectors.
package acs
