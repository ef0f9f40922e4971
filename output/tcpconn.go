package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"kagami/internal/stream"
)

// run connects again and again, until the window has ended.
func (t *TCP) run() {
	defer close(t.finished)
	failures := 0
	for !t.store.ended() {
		begun := time.Now()
		err := t.connection()
		t.store.lost()
		if t.store.ended() {
			var refusal *stream.Refusal
			if errors.As(err, &refusal) {
				t.tell(err) // which may be why it has
			}
			return
		}
		if time.Since(begun) > t.cfg.MaxBackoff || t.progress {
			failures = 0 // a replayer that is started again and again is not waited for
		}
		t.tell(err)
		select {
		case <-time.After(t.backoff(failures, err)):
		case <-t.dialling.Done():
		}
		failures++
	}
}

// tell tells Notify, unless it was told the same before.
func (t *TCP) tell(err error) {
	t.mu.Lock()
	same := t.told && (err == nil) == (t.err == nil) && (err == nil || err.Error() == t.err.Error())
	t.err, t.told = err, true
	if err == nil {
		t.away = time.Time{}
	} else if t.away.IsZero() {
		t.away = time.Now()
	}
	t.mu.Unlock()
	if !same {
		t.cfg.Notify(err)
	}
}

// backoff is how long to wait after so many failures, the last of them err.
func (t *TCP) backoff(failures int, err error) time.Duration {
	d := min(t.cfg.MaxBackoff, t.cfg.MinBackoff<<min(failures, 16))
	var refusal *stream.Refusal
	if errors.As(err, &refusal) && refusal.Code.Lasting() {
		d = t.cfg.RefusedBackoff
	}
	// Between half of it and all, so that many listeners do not come at once.
	return d/2 + time.Duration(t.cfg.Rand()%uint64(d/2+1))
}

// connection makes a connection and streams over it until it ends.
func (t *TCP) connection() error {
	t.progress = false
	conn, r, err := t.connect()
	if err != nil {
		err = fmt.Errorf("connect to replayer %s: %w", t.cfg.Address, err)
		var refusal *stream.Refusal
		if errors.As(err, &refusal) && refusal.Code.Lasting() {
			t.tell(err) // before the window may end with it
			t.store.refuse(refusal)
		}
		return err
	}
	t.tell(nil)
	defer t.linked.Unlock()
	defer conn.Close()
	unwatch := context.AfterFunc(t.ctx, func() { conn.Close() })
	defer unwatch()

	heard := make(chan struct{}) // closed when nothing more will be heard
	var receiveErr error
	go func() {
		defer close(heard)
		receiveErr = t.receive(conn, r)
		conn.Close() // the sender may be blocked in a write
	}()
	sendErr := t.send(conn, heard)
	if sendErr != nil {
		// The replayer may have said why, or acknowledged something.
		select {
		case <-heard:
		case <-time.After(time.Second):
		}
	}
	conn.Close()
	<-heard
	return t.why(sendErr, receiveErr)
}

// why says why a connection ended.
func (t *TCP) why(sendErr, receiveErr error) error {
	err := receiveErr
	var refusal *stream.Refusal
	if errors.As(err, &refusal) {
		switch refusal.Code {
		case stream.CodeDamaged:
			t.store.spoil()
		case stream.CodeUnauthorized:
			// It was good until now: a new token may be there already.
			return fmt.Errorf("stream to replayer %s: %v", t.cfg.Address, err)
		}
	} else if sendErr != nil && !errors.Is(sendErr, net.ErrClosed) && !errors.Is(sendErr, io.ErrClosedPipe) {
		err = sendErr
	}
	return fmt.Errorf("stream to replayer %s: %w", t.cfg.Address, err)
}

// connect returns a connection over which the replayer accepted the stream, with linked held.
func (t *TCP) connect() (net.Conn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(t.dialling, t.cfg.Handshake)
	defer cancel()
	conn, err := t.cfg.Dial(ctx, "tcp", t.cfg.Address)
	if err != nil {
		return nil, nil, err
	}
	conn, token, err := t.secure(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	unwatch := context.AfterFunc(ctx, func() { conn.Close() })
	r := bufio.NewReaderSize(conn, 4<<10)
	answer, err := t.shakeHands(conn, r, token)
	linked := false
	if err == nil && answer.Refused == nil {
		if err = t.missing(answer); err == nil {
			t.linked.Lock() // what is being handed over is not there any more
			linked = true
			err = t.store.resume(answer)
		}
	}
	if !unwatch() && err == nil {
		err = ctx.Err()
	}
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("no answer within %v", t.cfg.Handshake)
	case err == nil && answer.Refused != nil:
		err = answer.Refused
	}
	if err != nil {
		if linked {
			t.linked.Unlock()
		}
		conn.Close()
		return nil, nil, err
	}
	return conn, r, nil
}

func (t *TCP) shakeHands(conn net.Conn, r *bufio.Reader, token string) (stream.Answer, error) {
	if err := checkConn(conn, t.cfg.anywhere()); err != nil {
		return stream.Answer{}, err
	}
	hello := t.store.hello(t.hello)
	hello.Token = token
	if _, err := conn.Write(stream.AppendHello(nil, hello)); err != nil {
		return stream.Answer{}, err
	}
	answer, err := stream.ReadAnswer(r)
	if err == io.EOF {
		err = errors.New("it closed the connection without an answer")
	}
	if err == nil && answer.Refused == nil && answer.Version != stream.Protocol {
		answer.Refused = &stream.Refusal{Code: stream.CodeProtocol, Text: fmt.Sprintf(
			"the replayer speaks version %d of the protocol and the listener version %d: use the same version of kagami on both sides",
			answer.Version, stream.Protocol)}
	}
	return answer, err
}

// missing notes what the replayer understands, and says what it would have to. the replayer would have to understand.
func (t *TCP) missing(a stream.Answer) error {
	t.mu.Lock()
	t.features = a.Features
	t.mu.Unlock()
	if t.cfg.Compress && !a.Features.Has(stream.FeatureZstd) {
		return &stream.Refusal{Code: stream.CodeProtocol, Text: "the replayer does not take compressed batches, for its version of kagami is older: " +
			"update it, or do not compress (--output-tcp-compress none)"}
	}
	return nil
}

// send sends batches as they come, and heartbeats between them. It returns
// nil when the window has ended or nothing is heard any more.
func (t *TCP) send(conn net.Conn, heard <-chan struct{}) error {
	timer := time.NewTimer(t.cfg.Heartbeat)
	defer timer.Stop()
	alive := stream.AppendFrame(nil, stream.Frame{Type: stream.FrameAlive})
	for {
		if batch := t.store.take(); batch != nil {
			_, err := conn.Write(batch)
			t.store.wrote()
			if err != nil {
				return err
			}
			continue
		}
		if t.store.ended() {
			_, err := conn.Write(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameEnd}))
			return err
		}
		timer.Reset(t.cfg.Heartbeat)
		select {
		case <-t.store.woken():
		case <-heard:
			return nil
		case <-timer.C:
			if _, err := conn.Write(alive); err != nil {
				return err
			}
		}
	}
}

// receive takes in acknowledgements, until the connection ends.
func (t *TCP) receive(conn net.Conn, r *bufio.Reader) error {
	patience := deadAfter * t.cfg.Heartbeat
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience)) // what is wrong with conn, reading says
		f, err := stream.ReadFrame(r, stream.Limits{})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no sign of life for %v", patience)
		case err == io.EOF:
			return errors.New("the replayer closed the connection")
		case err != nil:
			return err
		case f.Type == stream.FrameBatch:
			return errors.New("the replayer sends batches, which is for listeners")
		}
		progress, err := t.store.ack(f.Acknowledged)
		if err != nil {
			return err
		}
		t.progress = t.progress || progress
		if f.Type == stream.FrameEnd {
			return f.Refusal()
		}
	}
}

// refuseInClear returns why not to send to an address in clear, nil if it is local.
func refuseInClear(ip netip.Addr) error {
	if ip = ip.Unmap(); ip.IsLoopback() {
		return nil
	}
	return &stream.Refusal{Code: stream.CodeInsecure, Text: fmt.Sprintf(
		"traffic would go to %s in clear: give the replayer's join file (--join-file), or use --insecure on both sides, listener and replayer, if that is meant", ip)}
}

// checkClear refuses a connection before it is made.
func checkClear(insecure bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if insecure || err != nil {
			return nil // not an IP address: nothing that leaves the host
		}
		return refuseInClear(to.Addr())
	}
}

// checkConn refuses a connection that another Dial has made.
func checkConn(conn net.Conn, insecure bool) error {
	to, ok := conn.RemoteAddr().(*net.TCPAddr)
	if insecure || !ok {
		return nil
	}
	return refuseInClear(to.AddrPort().Addr())
}
