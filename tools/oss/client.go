// SPDX-License-Identifier: Apache-2.0

package oss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

const (
	// DefaultMaxSize is how much of an object a model gets to see, in bytes.
	DefaultMaxSize = 64 << 10
	// maxListed bounds one listing.
	maxListed = 100
)

// Config configures a [Client]. The zero value reads any bucket that the
// credentials may read.
type Config struct {
	// Bucket and Region are used where a call names none.
	Bucket, Region string
	// Endpoint is the address of OSS in a region. If nil,
	// https://oss-{region}.aliyuncs.com. Plain HTTP is accepted for loopback
	// addresses only.
	Endpoint func(region string) string
	// MaxSize limits the text of one object, in bytes. If zero,
	// [DefaultMaxSize].
	MaxSize int64
	// Timeout limits one request. If zero, 30 seconds.
	Timeout time.Duration
}

// Client reads objects for tools. Its methods take the credentials of the user
// whom a call is for:
//
//	read := credentials.RequiresSTS(sts, client.Read)
//	tool := tools.New("get_oss_object", "Reads a file from OSS.", read)
//
// It is safe for concurrent use.
type Client struct {
	cfg Config
}

// New makes a client. It does no I/O.
func New(cfg Config) *Client {
	if cfg.Endpoint == nil {
		cfg.Endpoint = func(region string) string { return "https://oss-" + region + ".aliyuncs.com" }
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	return &Client{cfg}
}

// ReadInput names an object.
type ReadInput struct {
	Key    string `json:"key"              jsonschema:"the object's name, for example reports/report.txt"`
	Bucket string `json:"bucket,omitempty" jsonschema:"the bucket; without one the user's usual bucket"`
	Region string `json:"region,omitempty" jsonschema:"the bucket's region, for example cn-hangzhou; without one the usual region"`
}

// Object is an object as a model gets to see it.
type Object struct {
	Bucket       string    `json:"bucket"`
	Key          string    `json:"key"`
	Size         int64     `json:"size"` // of the whole object, in bytes
	ContentType  string    `json:"content_type"`
	LastModified time.Time `json:"last_modified"`
	// Text is the object's text, cut off after Config.MaxSize bytes. Empty
	// for an object that is no text.
	Text string `json:"text,omitempty"`
	// Truncated says that Text is not all of it.
	Truncated bool `json:"truncated,omitempty"`
	// Binary says that the object is no text.
	Binary bool `json:"binary,omitempty"`
}

// Read reads an object.
func (c *Client) Read(ctx context.Context, cred credentials.STSCredential, in ReadInput) (Object, error) {
	if in.Key == "" {
		return Object{}, errors.New("oss: the object's key is required")
	}
	bucket, name, err := c.bucket(cred, in.Bucket, in.Region)
	if err != nil {
		return Object{}, err
	}
	// One byte more tells whether there is more.
	body, err := bucket.GetObject(in.Key, oss.WithContext(ctx), oss.Range(0, c.cfg.MaxSize), oss.RangeBehavior("standard"))
	if isEmpty(err) {
		body, err = bucket.GetObject(in.Key, oss.WithContext(ctx))
	}
	if err != nil {
		return Object{}, explain(ctx, name, in.Key, err)
	}
	defer body.Close()
	o := Object{Bucket: name, Key: in.Key}
	if resp, ok := body.(*oss.Response); ok {
		o.ContentType = resp.Headers.Get("Content-Type")
		o.LastModified, _ = time.Parse(time.RFC1123, resp.Headers.Get("Last-Modified"))
		o.Size = totalSize(resp)
	}
	b, err := io.ReadAll(io.LimitReader(body, c.cfg.MaxSize+1))
	if err != nil {
		return Object{}, explain(ctx, name, in.Key, err)
	}
	if o.Size < int64(len(b)) {
		o.Size = int64(len(b))
	}
	if o.Truncated = int64(len(b)) > c.cfg.MaxSize; o.Truncated {
		b = cutRune(b[:c.cfg.MaxSize])
	}
	if o.Binary = !isText(o.ContentType, b); o.Binary {
		o.Truncated = false
		return o, nil
	}
	o.Text = string(b)
	return o, nil
}

// ListInput chooses objects.
type ListInput struct {
	Prefix string `json:"prefix,omitempty" jsonschema:"only objects whose names begin so, for example reports/"`
	Bucket string `json:"bucket,omitempty" jsonschema:"the bucket; without one the user's usual bucket"`
	Region string `json:"region,omitempty" jsonschema:"the bucket's region, for example cn-hangzhou; without one the usual region"`
}

// Listing is a list of objects.
type Listing struct {
	Bucket  string   `json:"bucket"`
	Objects []Listed `json:"objects"`
	// More says that there are more than the hundred that are listed.
	More bool `json:"more,omitempty"`
}

// Listed is one object of a [Listing].
type Listed struct {
	Key          string    `json:"key"`
	Size         int64     `json:"size"` // bytes
	LastModified time.Time `json:"last_modified"`
}

// List lists objects by name, a hundred at most.
func (c *Client) List(ctx context.Context, cred credentials.STSCredential, in ListInput) (Listing, error) {
	bucket, name, err := c.bucket(cred, in.Bucket, in.Region)
	if err != nil {
		return Listing{}, err
	}
	page, err := bucket.ListObjectsV2(oss.WithContext(ctx), oss.Prefix(in.Prefix), oss.MaxKeys(maxListed))
	if err != nil {
		return Listing{}, explain(ctx, name, in.Prefix, err)
	}
	out := Listing{Bucket: name, More: page.IsTruncated, Objects: make([]Listed, 0, len(page.Objects))}
	for _, o := range page.Objects {
		out.Objects = append(out.Objects, Listed{Key: o.Key, Size: o.Size, LastModified: o.LastModified})
	}
	return out, nil
}

// regionPattern keeps what a model writes from becoming another host's name.
var regionPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,30}$`)

func (c *Client) bucket(cred credentials.STSCredential, bucket, region string) (*oss.Bucket, string, error) {
	if bucket == "" {
		bucket = c.cfg.Bucket
	}
	if region == "" {
		region = c.cfg.Region
	}
	region = strings.TrimPrefix(region, "oss-")
	switch {
	case bucket == "":
		return nil, "", errors.New("oss: the bucket is not known: name one")
	case !regionPattern.MatchString(region):
		return nil, "", fmt.Errorf("oss: region %.40q: want a region id such as cn-hangzhou", region)
	}
	endpoint := c.cfg.Endpoint(region)
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback.Is(u.Hostname())) {
		return nil, "", fmt.Errorf("oss: endpoint %q: want https; plain http is accepted for loopback addresses only", endpoint)
	}
	seconds := max(1, int64(c.cfg.Timeout/time.Second))
	client, err := oss.New(endpoint, cred.AccessKeyID, cred.AccessKeySecret.Reveal(),
		oss.SecurityToken(cred.SecurityToken.Reveal()), oss.AuthVersion(oss.AuthV4), oss.Region(region), oss.Timeout(seconds, seconds))
	if err != nil {
		return nil, "", fmt.Errorf("oss: %w", err)
	}
	b, err := client.Bucket(bucket)
	if err != nil {
		return nil, "", fmt.Errorf("oss: bucket %.80q: %w", bucket, err)
	}
	return b, bucket, nil
}

// explain says what went wrong in words for a model and a person. Where the
// credentials were not accepted, it wraps [credentials.ErrRejected].
func explain(ctx context.Context, bucket, key string, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	e, ok := errors.AsType[oss.ServiceError](err)
	if !ok {
		return fmt.Errorf("oss: %s/%s: no answer from the storage service: %w", bucket, key, err)
	}
	text := fmt.Errorf("oss: %s/%s: %s (%s, request id %s)", bucket, key, strings.TrimSpace(e.Message), e.Code, e.RequestID)
	switch e.Code {
	case "InvalidAccessKeyId", "SecurityTokenExpired", "InvalidSecurityToken":
		return fmt.Errorf("%w: %w", credentials.ErrRejected, text)
	}
	return text
}

// isEmpty reports that a range was asked of an object without content.
func isEmpty(err error) bool {
	e, ok := errors.AsType[oss.ServiceError](err)
	return ok && e.StatusCode == 416
}

// totalSize is the size of the whole object, of which a range was asked.
func totalSize(resp *oss.Response) int64 {
	var size int64
	if _, total, ok := strings.Cut(resp.Headers.Get("Content-Range"), "/"); ok {
		_, _ = fmt.Sscan(total, &size)
	} else {
		_, _ = fmt.Sscan(resp.Headers.Get("Content-Length"), &size)
	}
	return size
}

// cutRune drops a character that was cut in two at the end.
func cutRune(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// isText reports whether b can be shown to a model.
func isText(contentType string, b []byte) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if strings.HasPrefix(mediaType, "image/") && mediaType != "image/svg+xml" || strings.HasPrefix(mediaType, "audio/") || strings.HasPrefix(mediaType, "video/") {
		return false
	}
	return utf8.Valid(b) && !strings.ContainsRune(string(b), 0)
}
