package output

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
)

// http2Key finds the connection that http2Dialed returns in its context.
type http2Key struct{}

// http2Dialed hands a connection that was made already to a Transport.
func http2Dialed(ctx context.Context, _, _ string) (net.Conn, error) {
	return ctx.Value(http2Key{}).(net.Conn), nil
}

// dial makes a connection. errNoHTTP2 says that it could be made, and that
// nothing speaks HTTP/2 at its other end; sure, that there is no doubt about that.
func (s *http2Sender) dial(ctx context.Context) (c *http2Conn, sure bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.h.cfg.Timeout)
	defer cancel()
	nc, addr, err := s.dialer.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	scheme := "http"
	var first *firstByte
	if tc, ok := nc.(*tls.Conn); ok {
		scheme = "https"
		if tc.ConnectionState().NegotiatedProtocol != "h2" {
			nc.Close()
			return nil, true, errNoHTTP2
		}
	} else {
		first = &firstByte{Conn: nc, seen: make(chan struct{})}
		nc = first
	}
	cc, err := s.transport.NewClientConn(context.WithValue(ctx, http2Key{}, nc), scheme, addr.String())
	if err != nil {
		nc.Close()
		return nil, false, fmt.Errorf("connect to %s: %w", s.h.target, err)
	}
	if first != nil {
		if ok, sure := first.isHTTP2(ctx); !ok {
			cc.Close()
			if err := s.h.ctx.Err(); err != nil {
				return nil, false, err
			}
			return nil, sure, errNoHTTP2
		}
	}
	return &http2Conn{ClientConn: cc, addr: addr, local: addrPort(nc.LocalAddr())}, false, nil
}

// A firstByte is a connection that looks at the first byte that comes: a
// server of HTTP/2 begins with a SETTINGS frame, be it empty (RFC 9113 §3.4), so
// that it is the first of a length and 0. One of HTTP/1.1 takes the client's
// preface for a bad request.
type firstByte struct {
	net.Conn
	once    sync.Once
	seen    chan struct{} // closed when what follows is set
	ok      bool
	isHTTP1 bool
}

func (c *firstByte) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 || err != nil {
		c.once.Do(func() {
			c.ok = n > 0 && p[0] == 0
			c.isHTTP1 = n > 0 && p[0] == 'H'
			close(c.seen)
		})
	}
	return n, err
}

// isHTTP2 waits for the first byte. sure says that the server speaks HTTP/1.1 instead.
func (c *firstByte) isHTTP2(ctx context.Context) (ok, sure bool) {
	select {
	case <-c.seen:
		return c.ok, c.isHTTP1
	case <-ctx.Done():
		return false, false
	}
}
