package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// A Config says how to connect. The zero value of a field is its default.
type Config struct {
	Address Address
	// Name is what the broker's tools show for the connection.
	Name string
	// CredsFile has a user's JWT and key, as nsc writes it.
	CredsFile string
	// RootCAs are trusted in place of the system's authorities.
	RootCAs *x509.CertPool
	// Certificates are shown to servers that ask for one.
	Certificates []tls.Certificate
	// Insecure allows to talk in clear to another host.
	Insecure bool
	// ReconnectWait is how long to wait before a server is tried again: 250 ms,
	// and up to as long again at random.
	ReconnectWait time.Duration
}

// Validate says what is wrong with the configuration, before anything is connected.
func (c *Config) Validate() error {
	if len(c.Address.Servers) == 0 || c.Address.Stream == "" {
		return errors.New("no address of a broker")
	}
	_, err := c.options()
	return err
}

// Connect begins to connect, and goes on trying for ever. told, if not nil, is
// called from another goroutine with each change: nil when there is a
// connection, else why there is none. It must not block.
//
// The connection holds nothing back while it is broken: publishing fails then.
func (c *Config) Connect(told func(error)) (*nats.Conn, error) {
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	if told == nil {
		told = func(error) {}
	}
	options = append(options,
		nats.ConnectHandler(func(*nats.Conn) { told(nil) }),
		nats.ReconnectHandler(func(*nats.Conn) { told(nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				err = errors.New("the connection was closed")
			}
			told(err)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { told(err) }),
		// What comes beside: a permission that is missing. A connection that breaks
		// is told by the handlers above.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if Unauthorized(err) {
				told(err)
			}
		}),
	)
	opts := nats.GetDefaultOptions()
	opts.Servers = c.Address.Servers
	for _, o := range options {
		if err := o(&opts); err != nil {
			return nil, err
		}
	}
	return opts.Connect()
}

func (c *Config) options() ([]nats.Option, error) {
	wait := c.ReconnectWait
	if wait <= 0 {
		wait = 250 * time.Millisecond
	}
	o := []nats.Option{
		nats.Name(c.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(wait),
		nats.ReconnectJitter(wait, wait),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(5 * time.Second),
	}
	if c.CredsFile != "" {
		o = append(o, nats.UserCredentials(c.CredsFile))
	}
	clear := c.Insecure || c.Address.local()
	if c.Address.tls() || c.RootCAs != nil || len(c.Certificates) > 0 || !clear {
		o = append(o, nats.Secure(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, Certificates: c.Certificates,
		}))
	} else if !c.Insecure {
		// Servers tell of others in their cluster: those may be elsewhere.
		d := &net.Dialer{Timeout: 5 * time.Second, Control: onlyLoopback}
		o = append(o, nats.SetCustomDialer(d))
	}
	return o, nil
}

// onlyLoopback refuses to connect in clear to another host.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err == nil && a.Addr().Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is another host, and this would be in clear: use tls://, or --insecure where the network is trusted", address)
}

// Explain makes of an error of the connection one that says what to do.
func Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: the broker has no TLS, and it is on another host; give it a certificate, or say --insecure where the network is trusted", err)
	case Unauthorized(err):
		return fmt.Errorf("%w: credentials are missing or wrong; they go into the address (nats://USER:PASSWORD@HOST) or into --nats-creds", err)
	}
	return err
}

// Unauthorized reports whether err says that the broker did not accept our credentials.
func Unauthorized(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrAccountAuthExpired) || errors.Is(err, nats.ErrPermissionViolation)
}
