package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// maxBlock is how many packets are taken in under one hold of the lock.
const maxBlock = 256

// A Listener makes HTTP messages of the packets of one or more sources. All
// sources feed one assembly, so that a connection may be seen in part on one
// interface and in part on another.
type Listener struct {
	cfg     Config
	sources []*input
	out     *outbox

	packets, connections, messages kagami.Stage

	mu      sync.Mutex
	asm     assembler
	timer   *time.Timer // rings when something in asm expires
	armed   bool
	wall    time.Time // when asm.clock was last set by a packet
	started atomic.Bool
	bounded atomic.Bool // the kernel lost packets
}

// An input is a source and what belongs to it.
type input struct {
	Source
	decoder decoder
	stats   Stats // as counted
	polled  int64 // asm.clock when they were
}

// New returns a Listener. At least one source is needed.
func New(cfg Config, sources ...Source) (*Listener, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, errors.New("capture: no source to read packets from")
	}
	l := &Listener{cfg: cfg}
	for _, s := range sources {
		l.sources = append(l.sources, &input{Source: s})
	}
	l.packets.Name, l.packets.Unit = "capture", kagami.Packets
	l.packets.Bounded = l.bounded.Load
	l.connections.Name, l.connections.Unit = "capture", kagami.Connections
	l.connections.InFlight = l.connectionsInFlight
	l.messages.Name, l.messages.Unit = "capture", kagami.Messages
	l.messages.InFlight = l.messagesInFlight
	l.messages.Bounded = l.bounded.Load
	l.out = newOutbox(cfg.Queue, cfg.Wait, &l.messages)
	l.asm.init(cfg, l)
	return l, nil
}

// Stages returns the ledger of the capture: packets, connections, messages. The
// last is what is handed on. The stages may be read at any time.
func (l *Listener) Stages() []*kagami.Stage {
	return []*kagami.Stage{&l.packets, &l.connections, &l.messages}
}

// Diagnosis returns what was seen so far. It may be called at any time.
func (l *Listener) Diagnosis() Diagnosis {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asm.seen.clone()
}

func (l *Listener) connectionsInFlight() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.asm.table.conns))
}

func (l *Listener) messagesInFlight() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asm.begun() + l.out.held.Load()
}

// Run captures until all sources are at their end, or ctx is done: then it
// stops the sources (a Stopper gives what it holds before it ends), hands on what is
// finished and returns nil. It returns an error if a source broke, or the one that emit
// returned; what was captured until then was handed on all the same, but for
// what emit did not take.
//
// emit is called by one goroutine, for one batch at a time. Its messages are its own
// from then on, and nobody waits to hear how they are settled. The context it is
// given has the values of ctx and is not cancelled with it, so that the
// last messages can be handed on; an error ends the Listener.
//
// Run closes the sources that are io.Closers. One that waits for packets must be.
// A Listener runs once.
func (l *Listener) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	if l.started.Swap(true) {
		return errors.New("capture: a listener runs once")
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()

	var emitErr error
	var emitter, reader, helper sync.WaitGroup
	emitter.Go(func() {
		if emitErr = l.out.run(context.WithoutCancel(ctx), emit); emitErr != nil {
			stop()
		}
	})
	l.timer = time.NewTimer(time.Hour)
	l.timer.Stop()
	helper.Go(func() { l.tick(reading) })
	helper.Go(func() { l.stop(reading) })
	errs := make([]error, len(l.sources))
	for i, in := range l.sources {
		reader.Go(func() {
			if errs[i] = l.read(reading, in); errs[i] != nil {
				stop()
			}
		})
	}
	reader.Wait()
	stop()
	helper.Wait()
	l.close()
	l.end()
	l.out.close()
	emitter.Wait()
	l.out.discard()
	return errors.Join(append(errs, emitErr)...)
}

// stop ends the sources when ctx is done, and what their readers wait for. A
// source that holds packets still gives them first, if it can.
func (l *Listener) stop(ctx context.Context) {
	<-ctx.Done()
	l.out.dontWait()
	for _, in := range l.sources {
		if s, ok := in.Source.(Stopper); ok {
			s.Stop()
			continue
		}
		in.close()
	}
}

func (l *Listener) close() {
	for _, in := range l.sources {
		in.close()
	}
}

func (in *input) close() {
	if c, ok := in.Source.(io.Closer); ok {
		c.Close() // what it reports does not change what was captured
	}
}

// read takes in the packets of a source until its end.
func (l *Listener) read(ctx context.Context, in *input) error {
	_, closes := in.Source.(io.Closer)
	for {
		p, err := in.Next()
		if err == nil {
			err = l.block(in, &p)
		}
		if err == nil && !closes && ctx.Err() != nil {
			err = net.ErrClosed
		}
		if err != nil {
			l.mu.Lock()
			l.poll(in)
			l.mu.Unlock()
			return sourceError(ctx, err)
		}
		l.out.waitForRoom()
	}
}

// sourceError says whether the error that ended a source is one.
func sourceError(ctx context.Context, err error) error {
	switch {
	case err == io.EOF:
		return nil
	case ctx.Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed)):
		return nil
	}
	return fmt.Errorf("capture: %w", err)
}

// block takes in a packet and those that follow it without waiting.
func (l *Listener) block(in *input, p *Packet) (err error) {
	buffered, _ := in.Source.(Buffered)
	l.mu.Lock()
	defer l.mu.Unlock()
	n, more := 0, true
	for more && err == nil {
		n++
		l.asm.packet(&in.decoder, p)
		more = buffered != nil && buffered.Buffered() > 0
		if !more || n == maxBlock || l.out.full() {
			break
		}
		*p, err = in.Next()
	}
	l.packets.In(n)
	l.asm.blockEnds()
	if !more || err != nil || l.out.full() {
		l.out.flush()
	}
	if l.asm.clock-in.polled >= int64(time.Second) {
		l.poll(in)
	}
	if !l.cfg.Wait {
		l.wall = time.Now()
		l.arm()
	}
	return err
}

// poll counts the packets that were lost before the source.
func (l *Listener) poll(in *input) {
	in.polled = l.asm.clock
	s, ok := in.Source.(Statser)
	if !ok {
		return
	}
	now, err := s.Stats()
	if err != nil {
		return // it will be known next time, or never
	}
	if now.KernelDropped > in.stats.KernelDropped {
		n := int(now.KernelDropped - in.stats.KernelDropped)
		l.packets.In(n)
		l.packets.Drop(kagami.KernelDrop, n)
		l.bounded.Store(true)
	}
	if now.InterfaceDropped > in.stats.InterfaceDropped {
		n := int(now.InterfaceDropped - in.stats.InterfaceDropped)
		l.packets.In(n)
		l.packets.Drop(kagami.InterfaceDrop, n)
		l.bounded.Store(true)
	}
	in.stats = now
}

// tick gives up what expires while no packet comes.
func (l *Listener) tick(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			l.timer.Stop()
			return
		case <-l.timer.C:
		}
		l.mu.Lock()
		l.armed = false
		now := l.asm.clock + int64(time.Since(l.wall))
		l.wall = time.Now()
		l.asm.advance(now)
		l.out.flush()
		l.arm()
		l.mu.Unlock()
	}
}

// arm sets the timer to when something expires, if anything may.
func (l *Listener) arm() {
	since, ok := l.asm.oldest()
	if !ok || l.armed {
		return
	}
	l.armed = true
	left := time.Duration(since + l.asm.expireAfter - l.asm.clock)
	l.timer.Reset(max(left, 10*time.Millisecond))
}

// end finishes what is unfinished and empties the table.
func (l *Listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asm.end()
	l.out.flush()
}
