package output

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// httpDialer makes connections to a target.
type httpDialer struct {
	resolver *httpResolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	tls      *tls.Config // nil for http
	timeout  time.Duration
}

func newHTTPDialer(cfg *HTTPConfig, t *httpTarget, r *httpResolver) httpDialer {
	d := httpDialer{resolver: r, dial: cfg.DialContext, timeout: cfg.Timeout}
	if d.dial == nil {
		// Nothing is idle for long enough that keep-alive probes would be of use.
		d.dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	if t.tls {
		d.tls = newTLSConfig(cfg, t, "http/1.1")
	}
	return d
}

// connect makes a connection to one of the target's addresses: to each in
// turn, until one accepts. It also returns which.
func (d *httpDialer) connect(ctx context.Context) (net.Conn, netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	addrs, err := d.resolver.addrs(ctx, freshFor)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	first := int(d.resolver.next.Add(1) - 1)
	for i := range addrs {
		a := addrs[(first+i)%len(addrs)]
		var nc net.Conn
		if nc, err = d.connectTo(ctx, a, len(addrs)-i); err == nil {
			return nc, a, nil
		}
	}
	d.resolver.unreachable()
	return nil, netip.AddrPort{}, fmt.Errorf("connect to %s: %w", d.resolver.target, err)
}

// connectTo makes a connection to one address, and leaves time for the others
// of those that are left.
func (d *httpDialer) connectTo(ctx context.Context, a netip.AddrPort, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	nc, err := d.dial(ctx, "tcp", a.String())
	if err != nil || d.tls == nil {
		return nc, err
	}
	tc := tls.Client(nc, d.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// rawConn gives access to the socket below a connection; nil if there is none.
func rawConn(nc net.Conn) syscall.RawConn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
