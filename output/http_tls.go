package output

import (
	"crypto/tls"
	"fmt"
)

// tlsSessions is how many sessions are kept to be resumed: one is enough for
// each address of a target.
const tlsSessions = 8

// newTLSConfig returns how a target is spoken to over TLS. The protocols are
// those that ALPN offers (RFC 7301), the preferred one first.
func newTLSConfig(cfg *HTTPConfig, t *httpTarget, protocols ...string) *tls.Config {
	name := cfg.ServerName
	if name == "" {
		name = t.name
	}
	return &tls.Config{
		ServerName:         name,
		RootCAs:            cfg.RootCAs,
		Certificates:       cfg.Certificates,
		InsecureSkipVerify: cfg.SkipVerify, // asked for by the user
		NextProtos:         protocols,
		ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
	}
}

// checkTLS checks what concerns TLS.
func (c *HTTPConfig) checkTLS() error {
	for i, cert := range c.Certificates {
		if len(cert.Certificate) == 0 || cert.PrivateKey == nil {
			return fmt.Errorf("certificate %d: want a certificate and its key", i)
		}
	}
	return nil
}
