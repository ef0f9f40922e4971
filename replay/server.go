package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// ServerStats counts connections since the server began.
type ServerStats struct {
	Accepted  int64 // that streamed, or do
	Refused   int64 // that were told why not
	Garbage   int64 // that were cut off because they did not follow the protocol
	Connected int64 // at the moment

	Unauthorized int64 // that had no or wrong credentials
}

// A Server is an input: it takes in what listeners stream to it (the other end
// is output.TCP). docs/format.md specifies the protocol.
//
// A batch is acknowledged to its listener when all its messages have been
// settled. A batch that comes again after a connection broke is not emitted
// again: the server remembers, for each run of a listener, what it has.
//
// All that comes in is bounded: connections, in total and of one address, the
// time a peer may take, the length of everything, the memory of what is not
// settled. A peer that does not follow the protocol is cut off, and nothing of
// a batch that cannot be read is emitted. Who has no credentials is cut off
// before anything but a hello is read, and an address that failed ten times in a
// row is left one attempt each three seconds.
//
// A server ends in two steps, between which what it emitted can be settled:
// when the context of Run is done it takes in nothing more, but goes on
// acknowledging until Close. What is settled as [kagami.DrainTimeout] after
// the first step is not acknowledged, nor is what came behind it: listeners
// send it to the next server.
//
// With a [State] a server goes on where the one before it ended, however it did.
type Server struct {
	cfg      ServerConfig
	listener net.Listener
	stage    *kagami.Stage
	memory   *budget
	emitting atomic.Int64 // messages decoded and not handed on yet
	place    int          // of stage in the State, if there is one
	behind   int          // of the filter that emit begins with

	links *kagami.Stage // connections
	peers *peerTable

	accepted, refused, garbage, connected, unauthorized atomic.Int64

	emit    func(context.Context, kagami.Batch) error
	emitCtx context.Context
	readers sync.WaitGroup // connections that may still emit
	wg      sync.WaitGroup // connections

	mu       sync.Mutex
	started  bool
	draining bool // nothing is accepted or taken in any more
	stop     context.CancelFunc
	conns    map[*serverConn]struct{}
	places   int // of MaxConnections that are taken
	sessions sessionTable
	fault    error         // what emit returned
	over     chan struct{} // closed by Close
}

var _ io.Closer = (*Server)(nil)

// NewServer returns a server that listens. It accepts connections when Run is called.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg.setDefaults()
	if cfg.Listener == nil {
		l, err := net.Listen("tcp", cfg.Address)
		if err != nil {
			return nil, fmt.Errorf("listen for streams: %w", err)
		}
		cfg.Listener = l
	}
	s := &Server{
		cfg:      cfg,
		listener: cfg.Listener,
		memory:   newBudget(cfg.Memory),
		conns:    make(map[*serverConn]struct{}),
		sessions: sessionTable{known: make(map[sessionKey]*session)},
		over:     make(chan struct{}),
	}
	s.stage = &kagami.Stage{
		Name: "stream", Of: s.listener.Addr().String(), Unit: kagami.Messages,
		InFlight: s.emitting.Load,
	}
	s.peers = newPeerTable(cfg.MaxPeer, max(1, cfg.MaxHandshakes/4))
	s.links = &kagami.Stage{
		Name: "stream", Of: s.listener.Addr().String(), Unit: kagami.Connections,
		InFlight: s.countShaking,
	}
	if cfg.State != nil {
		s.place = cfg.State.resume(s.stage)
	}
	return s, nil
}

// Addr is the address that the server listens at.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Stages are two stages. Of the connections, out are those that stream, or did.
// Of the messages, in are the records of batches that were taken in, out the
// messages handed to emit.
func (s *Server) Stages() []*kagami.Stage { return []*kagami.Stage{s.links, s.stage} }

// Stats counts connections.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Accepted: s.accepted.Load(), Refused: s.refused.Load(),
		Garbage: s.garbage.Load(), Connected: s.connected.Load(),
		Unauthorized: s.unauthorized.Load(),
	}
}

// Run hands what listeners send to emit, from a goroutine for each connection;
// the batches of one listener come one after the other. It returns nil when ctx
// is done, or Close called, and all that was taken in has been handed to emit.
// emit gets a context that is done then too; if it returns an error, that ends
// the server, and Run returns it. Run is called once.
func (s *Server) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return errors.New("run of a server that was run already")
	}
	s.started, s.stop, s.emit, s.emitCtx = true, stop, emit, ctx
	s.mu.Unlock()

	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		s.accept(ctx.Done())
	}()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if s.cfg.Trust != nil {
			s.watchTrust(ctx)
		}
	}()
	select {
	case <-ctx.Done():
	case <-s.over:
	}
	s.listener.Close()
	stop()
	<-accepting
	<-watching
	s.stopReading()
	s.readers.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// accept accepts connections until the listener is closed.
func (s *Server) accept(stop <-chan struct{}) {
	for pause := time.Duration(0); ; {
		conn, err := s.listener.Accept()
		if err == nil {
			pause = 0
			s.serve(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of descriptors, perhaps: others may become free.
		if pause == 0 {
			s.cfg.Notify(fmt.Errorf("accept streams at %s: %w", s.Addr(), err))
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-stop:
			return
		}
	}
}

// stopReading takes in nothing more.
func (s *Server) stopReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.conns {
		c.stopReading()
	}
}

// fail ends Run because emit failed.
func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
		s.stop()
	}
}

// isStopping reports whether Run is ending or has ended.
func (s *Server) isStopping() bool { return s.emitCtx.Err() != nil }

// Close acknowledges what is settled by now, tells listeners that the server
// ends, and closes their connections. It ends a Run that has not ended, and
// returns when all goroutines are gone: a second or so where a listener does
// not listen. It may be called more than once, and without Run.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.over:
	default:
		close(s.over)
	}
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.stopReading()
	s.wg.Wait()
	return err
}
