package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// A Server is a replayer's end of a handshake.
type Server struct {
	certificate func() (*tls.Certificate, error)
	auth        tls.ClientAuthType
	admit       func(state tls.ConnectionState, token string) (*Identity, error)
}

// An Identity is a listener that was admitted.
type Identity struct {
	// Name is that of its token, or of its certificate's subject.
	Name  string
	still func() error
}

// Still returns why the listener is not to be admitted any more, nil if it is.
func (id *Identity) Still() error { return id.still() }

// Server returns the end of a replayer that has the directory's key and admits
// who has one of its tokens.
func (d *Dir) Server() (*Server, error) {
	cert, _, err := d.Certificate()
	if err != nil {
		return nil, err
	}
	return &Server{
		certificate: func() (*tls.Certificate, error) { return &cert, nil },
		auth:        tls.NoClientCert,
		admit:       func(_ tls.ConnectionState, token string) (*Identity, error) { return d.admit(token) },
	}, nil
}

// Server returns the end of a replayer that admits who has a certificate of
// one of the authorities.
func (f *Files) Server() (*Server, error) {
	if err := f.Load(); err != nil {
		return nil, err
	}
	return &Server{
		certificate: func() (*tls.Certificate, error) {
			l, err := f.load()
			if err != nil {
				return nil, err
			}
			return &l.cert, nil
		},
		// It is checked afterwards, so that the listener can be told what is wrong.
		auth:  tls.RequestClientCert,
		admit: func(state tls.ConnectionState, _ string) (*Identity, error) { return f.admit(state) },
	}, nil
}

// Handshake begins TLS over a connection of a listener. The deadline is that of conn.
func (s *Server) Handshake(conn net.Conn) (*Conn, error) {
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		ClientAuth:             s.auth,
		SessionTicketsDisabled: true, // each connection has to show what it has
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
	c := &Conn{Conn: tls.Server(conn, config), raw: conn}
	if err := c.HandshakeContext(context.Background()); err != nil {
		return nil, err
	}
	if c.ConnectionState().NegotiatedProtocol != ALPN {
		return nil, errors.New("TLS, but not of a Kagami listener")
	}
	return c, nil
}

// Admit returns who the listener at the other end of c is, which has sent the
// token ("" for none), or why it is not to be let in: an ErrUntrusted, or that
// its credentials could not be checked.
func (s *Server) Admit(c *Conn, token string) (*Identity, error) {
	return s.admit(c.ConnectionState(), token)
}
