package output_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/output"
)

// socketBubble runs a test of an HTTP output within synctest, whose connections are served
// by s.
func socketBubble(t *testing.T, cfg output.HTTPConfig, s *socketServer, talk func(net.Conn, *bufio.Reader), test func(t *testing.T, h *output.HTTP)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		serve := s.serve(talk)
		cfg.URL = "http://192.0.2.1"
		cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			wg.Go(func() {
				defer ours.Close()
				serve(1, ours, bufio.NewReader(ours))
			})
			return theirs, nil
		}
		h, err := output.NewHTTP(cfg)
		if err != nil {
			t.Fatal(err)
		}
		test(t, h)
		if err := h.Close(); err != nil || h.InFlight() != 0 || h.Stats().WebSockets.Open != 0 {
			t.Errorf("Close: %v, %d in flight, %+v", err, h.InFlight(), h.Stats().WebSockets)
		}
		wg.Wait()
	})
}

// A recording without an end is ended: after an idle time, and with the output.
func TestHTTPWebSocketEnds(t *testing.T) {
	s := &socketServer{reply: acceptSocket()}
	goingAway := came(closeFrame, "\x03\xe9")
	socketBubble(t, output.HTTPConfig{WebSocketIdle: time.Minute}, s, nil, func(t *testing.T, h *output.HTTP) {
		ask, seen := askSocket(), watch(t)
		write(t, h, seen, ask, frameOf(ask, textFrame, "1"))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		later := watch(t)
		write(t, h, later, frameOf(ask, textFrame, "2")) // which begins the minute anew
		time.Sleep(59 * time.Second)
		synctest.Wait()
		seen.want(kagami.Delivered, kagami.Delivered)
		later.want(kagami.Delivered)
		if st := h.Stats().WebSockets; st.Open != 1 || st.Ended != [output.NumWSEnds]uint64{} {
			t.Errorf("after 59 s: %+v", st)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.want(t, came(textFrame, "1"), came(textFrame, "2"), goingAway)
		if st := h.Stats().WebSockets; st.Open != 0 || st.Ended[output.WSIdle] != 1 {
			t.Errorf("after a minute: %+v", st)
		}
		late := watch(t)
		write(t, h, late, frameOf(ask, textFrame, "3"))
		late.await(1)
		late.want(kagami.NoWebSocket)
	})
	s = &socketServer{reply: acceptSocket()}
	socketBubble(t, output.HTTPConfig{}, s, nil, func(t *testing.T, h *output.HTTP) {
		ask, seen := askSocket(), watch(t)
		write(t, h, seen, ask, frameOf(ask, textFrame, "1"), frameOf(ask, textFrame, "2"))
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		seen.want(kagami.Delivered, kagami.Delivered, kagami.Delivered)
		s.want(t, came(textFrame, "1"), came(textFrame, "2"), goingAway)
		if st := h.Stats().WebSockets; st.Ended[output.WSShutdown] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// A target that does not answer our Close is waited for no longer than Timeout.
func TestHTTPWebSocketCloseIsBounded(t *testing.T) {
	s := &socketServer{reply: acceptSocket()}
	socketBubble(t, output.HTTPConfig{Timeout: 3 * time.Second}, s, func(_ net.Conn, r *bufio.Reader) { s.read(r, nil) }, func(t *testing.T, h *output.HTTP) {
		ask, seen := askSocket(), watch(t)
		write(t, h, seen, ask, frameOf(ask, closeFrame, "\x03\xe8"))
		synctest.Wait()
		start := time.Now()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("Close took %v, want 3s", d)
		}
		seen.want(kagami.Delivered, kagami.Delivered)
	})
}

// Pings are answered, also between fragments. The target's Close is answered by the
// recorded one, where it comes soon, else by one of our own.
func TestHTTPWebSocketAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		recorded bool
		want     []string
		end      output.WSEnd
	}{
		{"the recorded Close", true, []string{came(0x01, "a"), came(pongFrame, "are you there?"), came(0x80, "b"), came(closeFrame, "\x03\xe8recorded")}, output.WSRecording},
		{"no Close", false, []string{came(0x01, "a"), came(pongFrame, "are you there?"), came(0x80, "b"), came(closeFrame, "\x03\xecbye")}, output.WSTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			var answers []*kagami.Message
			taken := outputFunc(func(_ context.Context, b kagami.Batch) error {
				answers = append(answers, b.Messages...)
				b.DoneAll(kagami.Delivered)
				return nil
			})
			s := &socketServer{reply: acceptSocket()}
			large := bytes.Repeat([]byte("x"), 300_000)
			talk := func(conn net.Conn, r *bufio.Reader) {
				conn.Write(rawFrame(pingFrame, "are you there?", false))
				n := 0
				s.read(r, func(string) bool {
					if n++; n == 3 {
						conn.Write(rawFrame(0x82, string(large), false))
						go conn.Write(rawFrame(closeFrame, "\x03\xecbye", false))
					}
					return n < 4
				})
			}
			socketBubble(t, output.HTTPConfig{Answers: taken}, s, talk, func(t *testing.T, h *output.HTTP) {
				ask, seen := askSocket(), watch(t)
				write(t, h, seen, ask, frameOf(ask, 0x01, "a"))
				synctest.Wait()
				more := watch(t)
				write(t, h, more, frameOf(ask, 0x80, "b"))
				synctest.Wait()
				if c.recorded {
					last := watch(t)
					write(t, h, last, frameOf(ask, closeFrame, "\x03\xe8recorded"))
					last.await(1)
					last.want(kagami.Delivered)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				s.want(t, c.want...)
				if st := h.Stats().WebSockets; st.Ended[c.end] != 1 || st.Sent != 4 || st.Received != 3 {
					t.Errorf("%+v", st)
				}
				wants := [][]byte{[]byte(acceptSocket()), rawFrame(pingFrame, "are you there?", false), rawFrame(0x82, string(large), false), rawFrame(closeFrame, "\x03\xecbye", false)}
				if len(answers) != len(wants) {
					t.Fatalf("%d answers were handed on, want %d", len(answers), len(wants))
				}
				for i, m := range answers {
					proto, flags, kept := kagami.WebSocket, kagami.Flags(0), wants[i]
					if i == 0 {
						proto = kagami.HTTP1
					}
					if i == 2 {
						flags, kept = kagami.Truncated, kept[:128<<10]
					}
					if m.Kind != kagami.Replayed || m.Proto != proto || m.Flags != flags || m.Exchange != ask.Exchange || m.WireLen != len(wants[i]) || !bytes.Equal(m.Raw, kept) || m.End.Before(m.Start) {
						t.Errorf("answer %d: %v %v %v, %d bytes of %d: %.80q", i, m.Kind, m.Proto, m.Flags, len(m.Raw), m.WireLen, m.Raw)
					}
				}
			})
		})
	}
}

// outputFunc is an output that is a function.
type outputFunc func(context.Context, kagami.Batch) error

func (f outputFunc) Write(ctx context.Context, b kagami.Batch) error { return f(ctx, b) }
func (outputFunc) Close() error                                      { return nil }

// What can't be sent ends the WebSocket: what comes behind it would be something else.
func TestHTTPWebSocketUnsendable(t *testing.T) {
	ask := askSocket("Sec-WebSocket-Extensions: permessage-deflate")
	with := func(m *kagami.Message, change func(*kagami.Message)) *kagami.Message { change(m); return m }
	for _, c := range []struct {
		name string
		bad  *kagami.Message
	}{
		{"compressed, and the target does not agree", frameOf(ask, 0xc1, "x")},
		{"a fragment without a beginning", frameOf(ask, 0x80, "x")},
		{"a server's", with(frameOf(ask, 0, ""), func(m *kagami.Message) { m.Raw = rawFrame(textFrame, "x", false) })},
		{"cut short", with(frameOf(ask, textFrame, "x"), func(m *kagami.Message) { m.Flags = kagami.Truncated; m.Raw = m.Raw[:5] })},
		{"not whole", with(frameOf(ask, textFrame, "x"), func(m *kagami.Message) { m.Flags = kagami.Incomplete })},
		{"two", with(frameOf(ask, textFrame, "x"), func(m *kagami.Message) { m.Raw = append(m.Raw, m.Raw...) })},
		{"nothing", with(frameOf(ask, textFrame, "x"), func(m *kagami.Message) { m.Raw = nil })},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &socketServer{reply: acceptSocket()}
			socketBubble(t, output.HTTPConfig{}, s, nil, func(t *testing.T, h *output.HTTP) {
				seen := watch(t)
				write(t, h, seen, ask, frameOf(ask, textFrame, "1"), c.bad, frameOf(ask, textFrame, "2"))
				seen.await(4)
				seen.want(kagami.Delivered, kagami.Delivered, kagami.NotReplayable, kagami.NotReplayable)
				synctest.Wait()
				s.want(t, came(textFrame, "1"), came(closeFrame, "\x03\xe9"))
				if st := h.Stats().WebSockets; st.Ended[output.WSError] != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
	t.Run("of no WebSocket", func(t *testing.T) {
		socketBubble(t, output.HTTPConfig{}, &socketServer{}, nil, func(t *testing.T, h *output.HTTP) {
			seen := watch(t)
			write(t, h, seen, frameOf(askSocket(), textFrame, "1"))
			seen.want(kagami.NotReplayable)
		})
	})
}

// WebSockets are bounded in number, and what waits for them in size.
func TestHTTPWebSocketsAreBounded(t *testing.T) {
	s := &socketServer{}
	silent := func(_ net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }
	socketBubble(t, output.HTTPConfig{WebSockets: 2, Timeout: time.Second}, s, silent, func(t *testing.T, h *output.HTTP) {
		a, b, c := askSocket(), askSocket(), askSocket()
		first, many := watch(t), watch(t)
		write(t, h, first, a, b, c, frameOf(c, textFrame, "x"))
		var ms []*kagami.Message
		for range 1100 {
			ms = append(ms, frameOf(a, textFrame, "x"))
		}
		write(t, h, many, ms...)
		if n := h.InFlight(); n != 2+1024 {
			t.Errorf("%d in flight, want %d", n, 2+1024)
		}
		large := watch(t)
		write(t, h, large, frameOf(b, 0x82, string(make([]byte, 3<<20))), frameOf(b, textFrame, "x"), frameOf(b, textFrame, "x"))
		time.Sleep(2 * time.Second) // neither is answered
		synctest.Wait()
		first.want(kagami.Timeout, kagami.Timeout, kagami.QueueFull, kagami.NotReplayable)
		if d, q, n := many.count(kagami.RequestDropped), many.count(kagami.QueueFull), many.count(kagami.NoWebSocket); d != 1024 || q != 1 || n != 75 {
			t.Errorf("%d given up with the request, %d had no room, %d behind that: want 1024, 1, 75", d, q, n)
		}
		large.want(kagami.RequestDropped, kagami.QueueFull, kagami.NoWebSocket)
		again := watch(t)
		write(t, h, again, askSocket())
		if n := h.InFlight(); n != 1 {
			t.Errorf("no room again: %d in flight", n)
		}
		again.await(1)
		again.want(kagami.Timeout)
	})
	// A file waits for room.
	s = &socketServer{reply: acceptSocket()}
	socketBubble(t, output.HTTPConfig{OnFull: output.WaitWhenFull}, s, nil, func(t *testing.T, h *output.HTTP) {
		ask, seen := askSocket(), watch(t)
		ms := []*kagami.Message{ask}
		for range 5000 {
			ms = append(ms, frameOf(ask, textFrame, "x"))
		}
		write(t, h, seen, ms...)
		seen.await(5001)
		seen.want(make([]kagami.Reason, 5001)...)
	})
}

// When the context of its Write ends, what is left is settled at once.
func TestHTTPWebSocketContextEnds(t *testing.T) {
	s := &socketServer{reply: acceptSocket()}
	stuck := func(net.Conn, *bufio.Reader) { time.Sleep(time.Hour) } // it reads nothing
	for _, opened := range []bool{true, false} {
		if !opened {
			s = &socketServer{}
		}
		socketBubble(t, output.HTTPConfig{Timeout: time.Minute}, s, stuck, func(t *testing.T, h *output.HTTP) {
			ctx, cancel := context.WithCancel(t.Context())
			ask, seen := askSocket(), watch(t)
			b := kagami.Batch{Messages: []*kagami.Message{ask, frameOf(ask, textFrame, "1"), frameOf(ask, textFrame, "2")}, Settle: seen.settle}
			if err := h.Write(ctx, b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			if opened {
				seen.want(kagami.Delivered, kagami.DrainTimeout, kagami.DrainTimeout)
			} else {
				seen.want(kagami.InDoubt, kagami.RequestDropped, kagami.RequestDropped)
			}
		})
	}
}

// With KeepOrder the request for a WebSocket waits for what was before it on the client's
// connection, and its frames with it.
func TestHTTPWebSocketKeepsOrder(t *testing.T) {
	gate := make(chan struct{})
	s := &socketServer{reply: acceptSocket(), keys: map[string]bool{}}
	socketServe := s.serve(nil)
	raw := serveRaw(t, func(n int64, c net.Conn, r *bufio.Reader) {
		if b, _ := r.Peek(6); string(b) == "GET /c" {
			socketServe(n, c, r)
			return
		}
		readRequest(r)
		<-gate
		io.WriteString(c, okAnswer)
	})
	h, seen := newHTTP(t, output.HTTPConfig{URL: raw.url(), KeepOrder: true, Timeout: time.Minute}), watch(t)
	before, ask := of(1, 1), askSocket()
	ask.Client, ask.Server = before.Client, before.Server
	write(t, h, seen, before, ask, frameOf(ask, textFrame, "1"))
	if n := raw.accepted.Load(); n > 1 || seen.len() != 0 || h.InFlight() != 3 {
		t.Errorf("%d connections, %d settled, %d in flight", n, seen.len(), h.InFlight())
	}
	close(gate)
	seen.await(3)
	seen.want(kagami.Delivered, kagami.Delivered, kagami.Delivered)
}

// While the target is down, a request for a WebSocket waits for it and does not dial.
func TestHTTPWebSocketWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTarget{dial: refuseAll}
		h, err := output.NewHTTP(output.HTTPConfig{URL: "http://192.0.2.1", DialContext: f.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		first := watch(t)
		write(t, h, first, askSocket())
		first.await(1)
		first.want(kagami.SendError)
		seen := watch(t)
		var ms []*kagami.Message
		for range 100 {
			ms = append(ms, askSocket())
		}
		write(t, h, seen, ms...)
		time.Sleep(time.Second)
		synctest.Wait()
		if at, _, _ := f.take(); len(at) > 8 {
			t.Errorf("%d attempts in a second: want 8 at most", len(at))
		}
		if h.Up() || seen.len() != 0 {
			t.Errorf("up %v, %d settled", h.Up(), seen.len())
		}
		f.setDial(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := seen.count(kagami.Delivered); n != 100 || h.Stats().WebSockets.Refused != 100 { // the fake answers 200
			t.Errorf("%d of 100 were answered, %+v", n, h.Stats().WebSockets)
		}
	})
}

// A limit counts requests for WebSockets, and no frames.
func TestLimitLetsFramesPass(t *testing.T) {
	out := &recordingOutput{}
	l := output.NewLimit(out, output.LimitConfig{Rate: 1})
	a, b := askSocket(), askSocket()
	seen := watch(t)
	write(t, l, seen, a, frameOf(a, textFrame, "1"), b, frameOf(b, textFrame, "1"), frameOf(a, textFrame, "2"))
	seen.await(2)
	seen.want(kagami.Delivered, kagami.Delivered, kagami.RateLimited, kagami.RequestDropped, kagami.Delivered)
}
