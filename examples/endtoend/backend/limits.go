// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
)

// Limits bound how often somebody may do something, in times per minute; each
// may be used up at once. Zero means the default, a negative number no limit.
// Each replica counts for itself.
type Limits struct {
	// SignIns of one address: GET /auth and POST /callback_for_oauth. If zero,
	// 60.
	SignIns int
	// Chats are messages of one user. If zero, 60.
	Chats int
	// Requests are all requests of one address. If zero, 1,200.
	Requests int
}

// maxLimited bounds how many users or addresses are remembered.
const maxLimited = 20_000

// limiter counts for each key by itself.
type limiter struct {
	perMinute int

	mu     sync.Mutex // guards the rest
	counts map[string]*rate.Limiter
}

func newLimiter(perMinute, otherwise int) *limiter {
	if perMinute == 0 {
		perMinute = otherwise
	}
	return &limiter{perMinute: perMinute, counts: map[string]*rate.Limiter{}}
}

// wait is how long key has to wait; zero means that it may go on.
func (l *limiter) wait(key string) time.Duration {
	if l.perMinute < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts[key]
	if c == nil {
		if len(l.counts) >= maxLimited {
			l.sweep()
		}
		c = rate.NewLimiter(rate.Limit(float64(l.perMinute)/60), l.perMinute)
		l.counts[key] = c
	}
	r := c.Reserve()
	if d := r.Delay(); d > 0 {
		r.Cancel()
		return d
	}
	return 0
}

// sweep forgets those who have not done anything for a while; if there are
// none, everybody: that is better than to grow, or to refuse.
func (l *limiter) sweep() {
	for key, c := range l.counts {
		if c.Tokens() >= float64(l.perMinute) {
			delete(l.counts, key)
		}
	}
	if len(l.counts) >= maxLimited {
		clear(l.counts)
	}
}

// allow reports whether key may go on; if not, it answers so.
func (l *limiter) allow(w http.ResponseWriter, key string) bool {
	d := l.wait(key)
	if d == 0 {
		return true
	}
	seconds := int(math.Ceil(d.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	web.Fail(w, http.StatusTooManyRequests, "Too many requests. Please try again in "+strconv.Itoa(seconds)+" s.")
	return false
}

// address is where a request comes from: the last address that a trusted proxy
// did not add itself. IPv6 addresses count by their network of 64 bits, which
// is what one customer has.
func (s *Server) address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(addr); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop
	}
	addr = addr.Unmap()
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

func (s *Server) trusted(addr netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
