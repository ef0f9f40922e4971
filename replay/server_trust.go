package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"kagami/internal/stream"
	"kagami/internal/trust"
)

// tlsHandshake is the first byte of TLS (RFC 8446 §5.1).
const tlsHandshake = 0x16

// secure begins TLS, where there is trust and the peer speaks it. What else it
// says is looked at as a hello in clear.
func (c *serverConn) secure() error {
	if c.server.cfg.Trust == nil {
		return nil
	}
	first, err := c.r.Peek(1)
	if err != nil || first[0] != tlsHandshake {
		return err
	}
	secured, err := c.server.cfg.Trust.Handshake(peeked{c.conn, c.r})
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // it has said something
		}
		return fmt.Errorf("TLS: %w", err)
	}
	c.secured, c.w = secured, secured
	c.r = bufio.NewReaderSize(secured, smallBuffer)
	return nil
}

// A peeked is a connection of which something was read already.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// distrust returns why a listener is not known, nil if it is.
func (c *serverConn) distrust(h stream.Hello) *stream.Refusal {
	cfg := &c.server.cfg
	if c.secured != nil {
		id, err := cfg.Trust.Admit(c.secured, h.Token)
		if err != nil && !errors.Is(err, trust.ErrUntrusted) {
			// What is wrong on this host is not for strangers.
			s := c.server
			if s.peers.complain(c.peer, true, time.Now()) {
				s.cfg.Notify(fmt.Errorf("stream from %s: %w", c.name, err))
			}
			return refusal(stream.CodeUnauthorized, "the replayer cannot check credentials at the moment: its log says why").Refused
		}
		if err != nil {
			return refusal(stream.CodeUnauthorized, "%v", err).Refused
		}
		c.setIdentity(id)
		return nil
	}
	switch agreed := cfg.Insecure && h.Insecure; {
	case agreed:
	case cfg.Trust != nil:
		return refusal(stream.CodeInsecure, "the replayer takes streams over TLS alone: give the listener --join-file (or --tls-ca, --tls-cert and --tls-key), "+
			"or use --insecure on both sides, if traffic is meant to go in clear").Refused
	case !c.isLocal():
		return refusal(stream.CodeInsecure, "traffic from another host would come in clear: use --insecure on both sides, listener and replayer, if that is meant").Refused
	}
	return nil
}

func (c *serverConn) isLocal() bool {
	from, ok := c.conn.RemoteAddr().(*net.TCPAddr)
	return !ok || from.AddrPort().Addr().Unmap().IsLoopback()
}

// watchTrust ends the streams of listeners that are not to be admitted any
// more, until stop.
func (s *Server) watchTrust(ctx context.Context) {
	ticker := time.NewTicker(s.cfg.Recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, c := range s.connections() {
			if id := c.whose(); id != nil {
				if err := id.Still(); err != nil {
					c.revoke(err)
				}
			}
		}
	}
}

// connections are those at the moment.
func (s *Server) connections() []*serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return slices.Clip(all)
}

func (c *serverConn) setIdentity(id *trust.Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identity = id
}

func (c *serverConn) whose() *trust.Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity
}

// revoke ends the connection for the reason err.
func (c *serverConn) revoke(err error) {
	c.mu.Lock()
	if c.revoked == nil && !c.isStopped() {
		c.revoked = err
	}
	c.mu.Unlock()
	c.stopReading()
}

// wasRevoked returns why the listener is not admitted any more, nil if it is.
func (c *serverConn) wasRevoked() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked
}
