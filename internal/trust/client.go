package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
)

// A Client is a listener's end of a handshake.
type Client struct {
	config func(address string) (config *tls.Config, token string, err error)
}

// JoinClient returns the end of a listener that streams to the replayer of a
// join file. load is called for each connection, so that the file can be
// replaced; where it fails, what it returned before is used.
func JoinClient(load func() (Join, error)) (*Client, error) {
	first, err := load()
	if err != nil {
		return nil, err
	}
	var last atomic.Pointer[Join]
	last.Store(&first)
	return &Client{func(string) (*tls.Config, string, error) {
		if j, err := load(); err == nil {
			last.Store(&j)
		}
		j := *last.Load()
		return joinConfig(j), j.Token.Text(), nil
	}}, nil
}

// joinConfig knows a replayer by its certificate, whatever is written in there.
func joinConfig(j Join) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // in favour of VerifyConnection
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return untrusted("the replayer has no certificate")
			}
			got := FingerprintOf(state.PeerCertificates[0].Raw)
			if !slices.Contains(j.Fingerprints, got) {
				return untrusted("this is another replayer than that of the join file, or it has a new key: its certificate is %v, the join file has %v",
					got, j.Fingerprints[0])
			}
			return nil
		},
	}
}

// Client returns the end of a listener that streams to replayers that have a
// certificate of one of the authorities, for the name in their address.
func (f *Files) Client() (*Client, error) {
	if err := f.Load(); err != nil {
		return nil, err
	}
	return &Client{func(address string) (*tls.Config, string, error) {
		l, err := f.load()
		if err != nil {
			return nil, "", err
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, "", err
		}
		return &tls.Config{RootCAs: l.roots, ServerName: host, Certificates: []tls.Certificate{l.cert}}, "", nil
	}}, nil
}

// Handshake begins TLS over a connection to the replayer at address, and
// returns the token to send with the hello. The error is an ErrUntrusted if it
// is not the right one.
func (c *Client) Handshake(ctx context.Context, conn net.Conn, address string) (*Conn, string, error) {
	config, token, err := c.config(address)
	if err != nil {
		return nil, "", err
	}
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{ALPN}
	// Records of a packet's size are for browsers, that show what has come.
	config.DynamicRecordSizingDisabled = true
	tc := &Conn{Conn: tls.Client(conn, config), raw: conn}
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, "", clientError(err)
	}
	return tc, token, nil
}

// clientError says what to do about a failed handshake.
func clientError(err error) error {
	var header tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &header):
		return errors.New("it does not speak TLS: is the address that of a replayer's --input-tcp, and has that a key (--tls-dir)?")
	case errors.Is(err, ErrUntrusted):
		return err
	case errors.As(err, &verification):
		return untrusted("the replayer's certificate: %v", verification.Err)
	}
	return fmt.Errorf("TLS: %w", err)
}
