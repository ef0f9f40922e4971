package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"kagami"
)

// An AmbiguousPolicy says what an HTTP output does with a request whose
// framing can be read in two ways. On a connection that others share it would
// be request smuggling.
type AmbiguousPolicy int

const (
	// AmbiguousDrop settles it as [kagami.AmbiguousFraming].
	AmbiguousDrop AmbiguousPolicy = iota
	// AmbiguousAlone sends it on a connection of its own, which is closed after the answer.
	AmbiguousAlone
)

// The defaults of an HTTPConfig.
const (
	DefaultReplayHeader = "Kagami-Replay"
	DefaultTimeout      = 5 * time.Second
	DefaultConnections  = 128
	DefaultIdleTimeout  = 2 * time.Second
	DefaultResolveEvery = 30 * time.Second
	DefaultAnswerSize   = 1 << 20
	DefaultOrderWait    = 256

	DefaultWebSockets    = 1000
	DefaultWebSocketIdle = 5 * time.Minute
)

// An HTTPConfig says where requests are sent and how. A zero field is its default.
type HTTPConfig struct {
	// URL is the target: "http://staging:8080". http:// may be left out; a path
	// is put before that of every request, and user:password@ becomes basic
	// authentication. A query or a fragment is an error.
	URL string
	// Index is the output's number in [kagami.Exchange.Decide]. A request that
	// got no answer is dropped there.
	Index int
	// Timeout bounds a request from the first byte sent to the last byte of the
	// answer (5 s), redirects included, and an attempt at a connection.
	Timeout time.Duration
	// Connections is how many are open at most (128). Requests beyond wait.
	Connections int
	// KeepOrder sends the requests of one client connection (of the same Client
	// and Server) in their order, each when the one before it was answered or
	// given up. Those that wait for that hold up no others. Requests whose Client
	// is not known have no order. Those of a client's connection of HTTP/2 go one after
	// the other too, though they may have been under way at the same time (RFC 9113 §5).
	KeepOrder bool
	// OrderWait is how many requests of one client connection wait so, at most
	// (256); all together 10 000 and 8 MiB. OnFull says what is done with one
	// that is too many: DropWhenFull settles it as [kagami.QueueFull];
	// WaitWhenFull makes Write wait, and then it holds up the others too.
	OrderWait int
	OnFull    OnFull
	// IdleTimeout is how long a connection without work is kept, at least (2 s).
	IdleTimeout time.Duration
	// Version says in which version of HTTP requests are sent (as captured,
	// where the target speaks it). Below TLS ALPN tells what it speaks. One in
	// clear text that answers the preface of HTTP/2 in another way is asked
	// again after ten minutes.
	Version HTTPVersion
	// Redirects is how many redirects are followed for one request, as long as
	// they stay on the target (0). Any other is an answer like all.
	Redirects int
	// WebSockets is how many WebSockets are open at once, or being opened, at most
	// (1000). Requests for more are settled as [kagami.QueueFull].
	WebSockets int
	// WebSocketIdle is after how long without a frame to send a WebSocket is closed
	// (5 min): a client may have gone without a word.
	WebSocketIdle time.Duration
	// OriginalHost leaves the Host field as it is; else it becomes the target's.
	OriginalHost bool
	// ReplayHeader is the field that gets the exchange's id ("Kagami-Replay").
	// NoReplayHeader leaves it out.
	ReplayHeader   string
	NoReplayHeader bool
	// Ambiguous says what is done with ambiguous framing.
	Ambiguous AmbiguousPolicy
	// SkipVerify accepts any certificate; RootCAs, if set, are those trusted
	// instead of the system's.
	SkipVerify bool
	RootCAs    *x509.CertPool
	// Certificates are shown to a server that asks for one: the first that it
	// would accept.
	Certificates []tls.Certificate
	// ServerName is the name that the server is asked for, and that its
	// certificate must have (the URL's host). The Host field is not changed by it.
	ServerName string
	// ResolveEvery is how often the host is looked up while there are connections
	// (30 s). Those to an address that is not listed any more are closed.
	ResolveEvery time.Duration
	// Answers, if set, is given the target's answers: messages of Kind
	// Replayed, one to a batch, that nobody waits for to be settled. Write is
	// called by one goroutine at a time; while it blocks, so do answers. It
	// is not closed.
	Answers Output
	// AnswerSize is how much of an answer is kept for Answers, in bytes (1 MiB).
	// A longer one is flagged as truncated.
	AnswerSize int
	// Before, if set, is called with requests the first byte of which is about to be
	// sent: once, not for those sent again. They wait while it returns an error, and it is
	// called again a little later; they are not timed out meanwhile. It may be called by
	// several goroutines at once, and is to be quick.
	Before func(requests []*kagami.Message) error
	// Notify, if set, is told when the target cannot be reached, and with nil
	// when it can again. It is called by one goroutine at a time, and must not
	// block.
	Notify func(error)
	// DialContext and Lookup stand in for a [net.Dialer] and the system's
	// resolver. DialContext is given "tcp" and an address and port.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	Lookup      func(ctx context.Context, host string) ([]netip.Addr, error)
}

func (c *HTTPConfig) setDefaults() error {
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"timeout", &c.Timeout, DefaultTimeout},
		{"idle timeout", &c.IdleTimeout, DefaultIdleTimeout},
		{"resolve interval", &c.ResolveEvery, DefaultResolveEvery},
		{"idle time of a WebSocket", &c.WebSocketIdle, DefaultWebSocketIdle},
	} {
		if *d.v < 0 {
			return fmt.Errorf("%s %v: want more than 0", d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		name string
		v    *int
		def  int
	}{
		{"connections", &c.Connections, DefaultConnections},
		{"answer size", &c.AnswerSize, DefaultAnswerSize},
		{"requests of a connection that wait", &c.OrderWait, DefaultOrderWait},
		{"redirects", &c.Redirects, 0},
		{"WebSockets", &c.WebSockets, DefaultWebSockets},
	} {
		if *d.v < 0 {
			return fmt.Errorf("%s %d: want more than 0", d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Index < 0 || c.Index >= kagami.MaxOutputs {
		return fmt.Errorf("output number %d: want 0 to %d", c.Index, kagami.MaxOutputs-1)
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	if c.Version < HTTPAsCaptured || c.Version > HTTPTwo {
		return fmt.Errorf("HTTP version %d: want HTTPAsCaptured, HTTPOne or HTTPTwo", c.Version)
	}
	if c.ReplayHeader == "" {
		c.ReplayHeader = DefaultReplayHeader
	}
	if strings.ContainsFunc(c.ReplayHeader, func(r rune) bool { return !isToken(r) }) {
		return fmt.Errorf("header name %q: want letters, digits and hyphens", c.ReplayHeader)
	}
	return nil
}

// isToken reports whether r may be part of a field name (RFC 9110 §5.6.2).
func isToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
