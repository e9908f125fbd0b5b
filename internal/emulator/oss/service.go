// SPDX-License-Identifier: Apache-2.0

// Package oss is the local cloud's Object Storage Service: buckets whose
// objects can be read, listed and written over its REST API, path style, with
// signatures V1 and V4 and security tokens verified.
//
// A bucket has a region and the users who may use it, named by the STS
// credentials of a workload identity's role.
package oss

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/identity"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// Bucket is a bucket. Users are the subjects or user ids who may use it; nil
// stands for everybody with credentials of the account.
type Bucket struct {
	Name, Region string
	Users        []string
}

type object struct {
	body        []byte
	contentType string
	modified    time.Time
}

type bucket struct {
	Bucket
	objects map[string]*object
}

// Service is the local OSS.
type Service struct {
	*core.Base
	Identity *identity.Service

	mu      sync.Mutex // guards the rest
	buckets map[string]*bucket
}

// New makes a service without buckets.
func New(base *core.Base, id *identity.Service) *Service {
	return &Service{Base: base, Identity: id, buckets: map[string]*bucket{}}
}

// AddBucket adds an empty bucket, or replaces one.
func (s *Service) AddBucket(b Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[b.Name] = &bucket{Bucket: b, objects: map[string]*object{}}
}

// Put stores an object. It reports whether there is such a bucket.
func (s *Service) Put(bucketName, key string, body []byte, contentType string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.buckets[bucketName]
	if ok {
		if contentType == "" {
			contentType = mime.TypeByExtension(path.Ext(key))
		}
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		b.objects[key] = &object{slices.Clone(body), contentType, s.Clock.Now()}
	}
	return ok
}

// failure is an answer of OSS that says no.
type failure struct {
	status        int
	code, message string
}

// Signed reports whether a request is for OSS: all services of the cloud share
// one address, and only these requests are signed its way.
func Signed(r *http.Request) bool {
	auth := r.Header.Get("Authorization")
	return strings.HasPrefix(auth, "OSS ") || strings.HasPrefix(auth, "OSS4-HMAC-SHA256 ")
}

// ServeHTTP serves a request in path style: /bucket/key.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := strings.ToUpper(randid.Hex(12))
	w.Header().Set("X-Oss-Request-Id", requestID)
	w.Header().Set("Server", "AliyunOSS")
	bucketName, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	op, user, keyID, f := s.serve(w, r, bucketName, key)
	status, code := http.StatusOK, ""
	if f != nil {
		status, code = f.status, f.code
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, xml.Header)
			_ = xml.NewEncoder(w).Encode(struct {
				XMLName                          xml.Name `xml:"Error"`
				Code, Message, RequestID, HostID string
			}{Code: f.code, Message: f.message, RequestID: requestID, HostID: r.Host})
		}
	}
	s.Calls.Add(core.Call{
		Time: s.Clock.Now(), Service: "oss", Op: op, User: user, Target: bucketName + "/" + key, Signer: keyID, Status: status, Code: code,
	})
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, bucketName, key string) (op, user, keyID string, f *failure) {
	op = map[string]string{http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodPut: "PutObject"}[r.Method]
	if key == "" && r.Method == http.MethodGet {
		op = "ListObjects"
	}
	fault := s.Faults.Take(op)
	if fault != nil {
		if status, done := fault.Play(w, r); done {
			return op, "", "", nil
		} else if status != 0 {
			return op, "", "", &failure{status, fault.Code, "a fault that a test asked for"}
		}
	}
	who, f := verify(r, bucketName, key, func(keyID, token string) (string, *failure) {
		secret, label, ref := s.Identity.Secret(keyID, token)
		user = label
		if ref != nil {
			_, code, message := ref.Parts()
			switch {
			case strings.HasPrefix(code, "InvalidAccessKeyId"):
				code = "InvalidAccessKeyId"
			case strings.HasSuffix(code, ".Expired"):
				code = "SecurityTokenExpired"
			default:
				code = "InvalidSecurityToken"
			}
			return "", &failure{http.StatusForbidden, code, message}
		}
		return secret, nil
	})
	if f != nil {
		return op, user, who.keyID, f
	}
	if op == "" {
		return op, user, who.keyID, &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", "the local cloud's OSS reads, lists and writes objects only"}
	}
	s.mu.Lock()
	b, ok := s.buckets[bucketName]
	s.mu.Unlock()
	switch {
	case !ok:
		return op, user, who.keyID, &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist."}
	case who.region != "" && who.region != b.Region:
		return op, user, who.keyID, &failure{
			http.StatusForbidden, "AccessDenied",
			"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint: oss-" + b.Region + ".aliyuncs.com.",
		}
	case b.Users != nil && !slices.Contains(b.Users, user):
		return op, user, who.keyID, &failure{http.StatusForbidden, "AccessDenied", "You have no right to access this object because of bucket acl."}
	}
	switch op {
	case "ListObjects":
		f = s.list(w, r, b)
	case "PutObject":
		f = s.put(r, b, key)
	default:
		f = s.get(w, r, b, key)
	}
	return op, user, who.keyID, f
}

func (s *Service) get(w http.ResponseWriter, r *http.Request, b *bucket, key string) *failure {
	s.mu.Lock()
	o, ok := b.objects[key]
	s.mu.Unlock()
	if !ok {
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	w.Header().Set("Content-Type", o.contentType)
	w.Header().Set("ETag", fmt.Sprintf("%q", strings.ToUpper(randid.Hex(16))))
	http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.body))
	return nil
}

func (s *Service) put(r *http.Request, b *bucket, key string) *failure {
	body, err := io.ReadAll(r.Body)
	if err != nil || key == "" || len(key) > 1023 {
		return &failure{http.StatusBadRequest, "InvalidArgument", "The object's name or body cannot be used."}
	}
	s.Put(b.Name, key, body, r.Header.Get("Content-Type"))
	return nil
}

// list answers both versions of the list operation.
func (s *Service) list(w http.ResponseWriter, r *http.Request, b *bucket) *failure {
	q := r.URL.Query()
	limit := 100
	if text := q.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return &failure{http.StatusBadRequest, "InvalidArgument", "max-keys must be 1 to 1000"}
		}
		limit = n
	}
	after := max(q.Get("marker"), q.Get("start-after"), q.Get("continuation-token"))
	type contents struct {
		Key, LastModified, ETag, Type, StorageClass string
		Size                                        int
	}
	out := struct {
		XMLName                           xml.Name `xml:"ListBucketResult"`
		Name, Prefix                      string
		MaxKeys                           int
		IsTruncated                       bool
		EncodingType                      string
		NextMarker, NextContinuationToken string `xml:",omitempty"`
		Contents                          []contents
	}{Name: b.Name, Prefix: q.Get("prefix"), MaxKeys: limit, EncodingType: "url"}
	s.mu.Lock()
	keys := make([]string, 0, len(b.objects))
	for key := range b.objects {
		if strings.HasPrefix(key, out.Prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		out.IsTruncated, keys = true, keys[:limit]
		out.NextMarker, out.NextContinuationToken = escape(keys[limit-1]), escape(keys[limit-1])
	}
	for _, key := range keys {
		o := b.objects[key]
		out.Contents = append(out.Contents, contents{
			Key: escape(key), LastModified: o.modified.UTC().Format("2006-01-02T15:04:05.000Z"), Size: len(o.body),
			ETag: `"0"`, Type: "Normal", StorageClass: "Standard",
		})
	}
	s.mu.Unlock()
	out.Prefix = escape(out.Prefix)
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(out)
	return nil
}
