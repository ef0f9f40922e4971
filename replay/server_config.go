package replay

import (
	"net"
	"time"

	"kagami/internal/stream"
	"kagami/internal/trust"
)

// A ServerConfig says where listeners stream to and how much they may. A field
// that is zero has the default that stands beside it.
type ServerConfig struct {
	// Address is host and port to listen at, as in ":28020" or "127.0.0.1:0".
	Address string
	// Listener, if set, is listened at in place of Address. The server closes it.
	Listener net.Listener
	// Insecure allows listeners on other hosts to stream in clear.
	Insecure bool
	// NeedResponses refuses listeners that do not send production's answers.
	NeedResponses bool
	// Trust, if set, says which listeners are let in, over TLS. In clear none is
	// then, this host's neither, but with Insecure.
	Trust *trust.Server
	// Resend takes in messages that another replayer may have delivered already
	// ([kagami.Doubtful]); else they are dropped, as [kagami.InDoubt].
	Resend bool
	// State, if set, keeps over restarts what has become of messages. It is closed
	// after the server, and told of what stands behind the server before that runs.
	State *State
	// Recheck is how often those that were let in are looked at again: 1 s.
	Recheck time.Duration

	// MaxConnections is how many listeners may be connected at once: 256.
	MaxConnections int
	// MaxPeer is how many connections one address may have, a /64 of IPv6: 128.
	MaxPeer int
	// MaxHandshakes is how many connections may not have said hello yet: 64; of
	// one address a quarter. One more, and one is closed of the address that has most.
	MaxHandshakes int
	// MaxSessions is how many listeners are remembered, connected or not: 256, and
	// no fewer than MaxConnections. One that was forgotten sends again what was
	// not acknowledged to it.
	MaxSessions int
	// Limits bound records and batches: see [stream.Limits].
	Limits stream.Limits
	// Window bounds the bytes of one listener that are not settled: 16 MiB. The
	// server reads no more of it until they are. One batch is let in whatever its size.
	Window int64
	// Memory bounds the bytes of all listeners that are read and not settled: 256 MiB.
	Memory int64
	// MaxExchanges and ExchangeAge bound, for each listener that sends answers,
	// which requests are remembered to join them to: Max and Age of [Exchanges].
	MaxExchanges int
	ExchangeAge  time.Duration

	// Handshake is how long a listener may take to say hello: 5 s.
	Handshake time.Duration
	// Heartbeat is how long the line is left silent: 2 s. A listener that is not
	// heard of for four times that is cut off, and so is one that takes longer
	// than that, and a second for each 64 KiB, to send a batch.
	Heartbeat time.Duration

	// AckEvery is how long to wait after an acknowledgement before the next one:
	// 10 ms. Each wakes the listener up, which is a production host.
	AckEvery time.Duration

	// Notify, if set, is told why a connection ended, once for each that did not
	// end as it should. It is called from several goroutines and must not block.
	Notify func(error)
}

// The defaults of a ServerConfig.
const (
	DefaultServerConnections = 256
	DefaultServerPeer        = 128
	DefaultServerHandshakes  = 64
	DefaultServerRecheck     = time.Second
	DefaultServerSessions    = 256
	DefaultServerWindow      = 16 << 20
	DefaultServerMemory      = 256 << 20
	DefaultServerHandshake   = 5 * time.Second
	DefaultServerHeartbeat   = 2 * time.Second
	DefaultServerAckEvery    = 10 * time.Millisecond
)

func (cfg *ServerConfig) setDefaults() {
	setDefault(&cfg.MaxConnections, DefaultServerConnections)
	setDefault(&cfg.MaxSessions, DefaultServerSessions)
	setDefault(&cfg.MaxPeer, DefaultServerPeer)
	setDefault(&cfg.MaxHandshakes, DefaultServerHandshakes)
	setDefault(&cfg.Recheck, DefaultServerRecheck)
	cfg.MaxSessions = max(cfg.MaxSessions, cfg.MaxConnections)
	setDefault(&cfg.Window, DefaultServerWindow)
	setDefault(&cfg.Memory, DefaultServerMemory)
	setDefault(&cfg.Handshake, DefaultServerHandshake)
	setDefault(&cfg.Heartbeat, DefaultServerHeartbeat)
	setDefault(&cfg.AckEvery, DefaultServerAckEvery)
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
