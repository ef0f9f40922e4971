package output

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// httpTarget is the server that requests are sent to.
type httpTarget struct {
	tls  bool
	name string // host name or address, for looking it up and for TLS
	port uint16
	host string // as Host names it: with the port, unless it is the scheme's own
	base string // path before every path, without a slash at its end
	auth string // value of Authorization, or ""
}

// String is the target without what is secret in it.
func (t *httpTarget) String() string {
	if t.tls {
		return "https://" + t.host + t.base
	}
	return "http://" + t.host + t.base
}

// parseHTTPTarget reads the URL of a target. http:// may be left out.
func parseHTTPTarget(s string) (*httpTarget, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error // it repeats the URL, which may hold a password
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("target is not a URL: %w", err)
	}
	t := &httpTarget{name: u.Hostname(), host: strings.ToLower(u.Host), base: strings.TrimRight(u.EscapedPath(), "/")}
	switch {
	case u.Scheme == "https":
		t.tls, t.port = true, 443
	case u.Scheme == "http":
		t.port = 80
	default:
		return nil, fmt.Errorf("target scheme %q: want http or https", u.Scheme)
	}
	switch {
	case t.name == "":
		return nil, errors.New("target has no host: want something like http://staging:8080")
	case strings.ContainsFunc(t.name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("target host %q: want ASCII (for an international name its xn-- form)", t.name)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("target %s has a query or a fragment: only a path can stand before each request's own", t)
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("target port %q: want 1 to 65535", p)
		}
		t.port = uint16(n)
	} else {
		t.host = strings.TrimSuffix(t.host, ":")
	}
	if u.User != nil {
		password, _ := u.User.Password()
		t.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return t, nil
}

// freshFor is how long a looked-up address is taken for new connections
// without looking again: a target that closes every connection would else cost
// a look-up for each.
const freshFor = time.Second

// httpResolver knows a target's addresses.
type httpResolver struct {
	target *httpTarget
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	next   atomic.Uint32 // takes turns among the addresses
	known  atomic.Pointer[httpAddrs]
	mu     sync.Mutex // held while looking up
}

// httpAddrs is what a look-up found.
type httpAddrs struct {
	list []netip.AddrPort
	at   time.Time // zero once none of them could be reached
}

func newHTTPResolver(t *httpTarget, lookup func(context.Context, string) ([]netip.Addr, error)) *httpResolver {
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	r := &httpResolver{target: t, lookup: lookup}
	if a, err := netip.ParseAddr(t.name); err == nil {
		r.lookup = nil
		r.known.Store(&httpAddrs{list: []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), t.port)}})
	}
	return r
}

// addrs returns the target's addresses, which are not older than maxAge. Where
// a look-up fails, what was known before still holds.
func (r *httpResolver) addrs(ctx context.Context, maxAge time.Duration) ([]netip.AddrPort, error) {
	if known := r.known.Load(); known != nil && (r.lookup == nil || time.Since(known.at) < maxAge) {
		return known.list, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known.Load()
	if known != nil && time.Since(known.at) < maxAge {
		return known.list, nil // another has looked meanwhile
	}
	found, err := r.lookup(ctx, r.target.name)
	if err == nil && len(found) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		if known != nil {
			return known.list, nil
		}
		return nil, fmt.Errorf("resolve %s: %w", r.target.name, err)
	}
	list := make([]netip.AddrPort, 0, len(found))
	for _, a := range found {
		list = append(list, netip.AddrPortFrom(a.Unmap(), r.target.port))
	}
	r.known.Store(&httpAddrs{list, time.Now()})
	return list, nil
}

// fresh is the address that has its turn, if one can be had without a look-up.
// n is how many there are.
func (r *httpResolver) fresh(now time.Time) (a netip.AddrPort, n int) {
	known := r.known.Load()
	if known == nil || r.lookup != nil && now.Sub(known.at) >= freshFor {
		return a, 0
	}
	n = len(known.list)
	return known.list[int(r.next.Add(1)-1)%n], n
}

// unreachable notes that none of the known addresses could be reached: the
// next connection begins with a look-up.
func (r *httpResolver) unreachable() {
	if known := r.known.Load(); known != nil && r.lookup != nil {
		r.known.Store(&httpAddrs{list: known.list})
	}
}

// age is how old the known addresses are, 0 if there is nothing to look up.
func (r *httpResolver) age(now time.Time) time.Duration {
	known := r.known.Load()
	if r.lookup == nil || known == nil {
		return 0
	}
	return now.Sub(known.at)
}

// listed reports whether an address is among the known ones.
func (r *httpResolver) listed(a netip.AddrPort) bool {
	known := r.known.Load()
	return known != nil && slices.Contains(known.list, a)
}

// Check looks the target's host up. Its error says that there is no such host,
// so that a command can refuse at its start what NewHTTP accepts, for a name
// that does not resolve yet may do so later.
func (h *HTTP) Check(ctx context.Context) error {
	_, err := h.resolver.addrs(ctx, 0)
	return err
}

// Targets returns the addresses that requests are sent to, as far as they have
// been looked up: by Check, or for a first connection.
func (h *HTTP) Targets() []netip.AddrPort {
	known := h.resolver.known.Load()
	if known == nil {
		return nil
	}
	return slices.Clone(known.list)
}
