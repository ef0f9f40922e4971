package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// DefaultStream is the stream of an address that names none.
const DefaultStream = "kagami"

// IsName reports whether s may be the name of a stream, a group or a replayer:
// 1 to 64 letters, digits, - and _, as a part of a subject may have.
func IsName(s string) bool {
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// An Address says where a stream is.
type Address struct {
	// Servers are URLs of servers of one cluster, with credentials if there are any.
	Servers []string
	// Stream is its name, which its subjects begin with.
	Stream string
}

// ParseAddress reads an address as users write it:
//
//	nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST[:PORT]…][/STREAM]
//
// The scheme is nats or tls, which demands TLS; the port is 4222 and the stream
// "kagami" where they are left out. The credentials are those for all hosts.
func ParseAddress(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "nats" && scheme != "tls" {
		return Address{}, errors.New("want nats://HOST or tls://HOST, as in nats://broker:4222/traffic")
	}
	if strings.ContainsAny(rest, "?#") {
		return Address{}, errors.New("want nothing behind the name of the stream")
	}
	hosts, stream, named := strings.Cut(rest, "/")
	if !named || stream == "" {
		stream = DefaultStream
	}
	if !IsName(stream) {
		return Address{}, fmt.Errorf("stream %q: want letters, digits, - and _, at most 64", stream)
	}
	user := ""
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		user, hosts = hosts[:i+1], hosts[i+1:]
	}
	a := Address{Stream: stream}
	for _, host := range strings.Split(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil && !strings.HasSuffix(host, "]") && strings.Contains(host, ":") {
			return Address{}, fmt.Errorf("host %q: want HOST:PORT, IPv6 addresses in brackets", host)
		}
		u, err := url.Parse(scheme + "://" + user + host)
		if err != nil {
			// The error quotes the address, and with it the password.
			return Address{}, fmt.Errorf("host %q is not a URL's; percent-encode what is special in user and password", host)
		}
		if u.Hostname() == "" {
			return Address{}, errors.New("a host is missing, as in nats://broker:4222/traffic")
		}
		if !isHost(u.Hostname()) || u.Path != "" {
			return Address{}, fmt.Errorf("host %q: want a name or an IP address", u.Hostname())
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "4222")
		} else if p, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || p == 0 {
			return Address{}, fmt.Errorf("port %s: want 1 to 65535", u.Port())
		}
		a.Servers = append(a.Servers, u.String())
	}
	return a, nil
}

// isHost reports whether s may be the name or the IP address of a host.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return !strings.Contains(s, "%") // a zone would need a URL's quoting
	}
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// String is the address without credentials.
func (a Address) String() string {
	var hosts []string
	scheme := "nats"
	for _, s := range a.Servers {
		if u, err := url.Parse(s); err == nil {
			hosts = append(hosts, u.Host)
			scheme = u.Scheme
		}
	}
	return scheme + "://" + strings.Join(hosts, ",") + "/" + a.Stream
}

// local reports whether every server is on this host, so that nothing leaves it.
func (a Address) local() bool {
	for _, s := range a.Servers {
		u, err := url.Parse(s)
		if err != nil || !isLoopback(u.Hostname()) {
			return false
		}
	}
	return true
}

// tls reports whether the address demands TLS.
func (a Address) tls() bool { return strings.HasPrefix(a.Servers[0], "tls:") }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
