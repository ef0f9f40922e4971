package output_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/output"
)

// tcpTest runs a test with a replayer in a synctest bubble.
func tcpTest(t *testing.T, f func(t *testing.T, r *tcpReplayer, fates *tcpFates)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newTCPReplayer(t), &tcpFates{t: t, fate: map[string]kagami.Reason{}})
	})
}

func tcpWrite(t *testing.T, out *output.TCP, ctx context.Context, b kagami.Batch) {
	t.Helper()
	if err := out.Write(ctx, b); err != nil {
		t.Fatal(err)
	}
}

// tcpClose closes out while the test plays the replayer on.
func tcpClose(out *output.TCP) <-chan error {
	closed := make(chan error, 1)
	go func() { closed <- out.Close() }()
	return closed
}

func expectInFlight(t *testing.T, out *output.TCP, want int64) {
	t.Helper()
	if n := out.InFlight(); n != want {
		t.Errorf("%d in flight, want %d", n, want)
	}
}

func TestTCPDeliveredWhenAcknowledged(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(func(c *output.TCPConfig) { c.ID, c.Responses, c.Hop = "edge-1", true, 2 })
		l := r.accept(stream.Answer{})
		if want := (stream.Hello{Version: 1, Listener: "edge-1", Epoch: 7, Next: 1, Hop: 2, Responses: true}); l.hello != want {
			t.Errorf("hello %+v, want %+v", l.hello, want)
		}
		tcpWrite(t, out, t.Context(), fates.batch(0, "01", "02", "03"))
		l.expectBatch(1, 3, "01 02 03")
		tcpWrite(t, out, t.Context(), fates.batch(0, "04"))
		l.expectBatch(4, 4, "04")
		synctest.Wait()
		fates.expect("")
		expectInFlight(t, out, 4)
		l.ack(3)
		synctest.Wait()
		fates.expect("01 delivered, 02 delivered, 03 delivered")
		expectInFlight(t, out, 1)

		closed := tcpClose(out)
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed with a message in flight: %v", err)
		default:
		}
		l.ack(4)
		l.end()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered")
		expectInFlight(t, out, 0)
	})
}

func TestTCPGoesOnAfterReconnect(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer stream.Answer // of the replayer after the connection broke
		want   []string      // the batches sent then
		fates  string        // before anything more is acknowledged
	}{
		{"it has two batches and acknowledges one", stream.Answer{Received: 3, Acknowledged: 2},
			[]string{"4-5 04 05"}, "01 delivered, 02 delivered"},
		{"it has all", stream.Answer{Received: 5, Acknowledged: 5}, nil,
			"01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 delivered"},
		{"it was started anew", stream.Answer{}, []string{"1-2 01 02", "3-3 03", "4-5 04 05"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
				out := r.output(nil)
				l := r.accept(stream.Answer{})
				for _, ids := range [][]string{{"01", "02"}, {"03"}, {"04", "05"}} {
					tcpWrite(t, out, t.Context(), fates.batch(0, ids...))
					l.batch()
				}
				l.conn.Close()
				l = r.accept(test.answer)
				if l.hello.Next != 6 || l.hello.Epoch != 7 {
					t.Errorf("hello %+v, want the same epoch and record 6 next", l.hello)
				}
				for _, want := range test.want {
					first, last, ids := l.batch()
					if got := fmt.Sprintf("%d-%d %s", first, last, ids); got != want {
						t.Errorf("batch %s, want %s", got, want)
					}
				}
				synctest.Wait()
				fates.expect(test.fates)
				l.ack(5)
				closed := tcpClose(out)
				l.end()
				if err := <-closed; err != nil {
					t.Error(err)
				}
				fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 delivered")
			})
		})
	}
}

func TestTCPWindowBlocks(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*output.TCPConfig)
	}{
		{"bytes", func(c *output.TCPConfig) { c.Window, c.BatchSize = 2500, 1000 }},
		{"batches", func(c *output.TCPConfig) { c.WindowBatches, c.BatchSize = 2, 1000 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
				out := r.output(test.change)
				l := r.accept(stream.Answer{})
				ctx, cancel := context.WithCancel(t.Context())
				wrote := make(chan error, 1)
				go func() { wrote <- out.Write(ctx, fates.batch(900, "01", "02", "03", "04", "05")) }()
				l.expectBatch(1, 1, "01")
				synctest.Wait()
				select {
				case <-wrote:
					t.Fatal("Write returned with a full window")
				default:
				}
				expectInFlight(t, out, 5)
				l.ack(1)
				l.expectBatch(2, 2, "02")
				synctest.Wait()
				// 01 is settled, 02 was sent, 03 is being sent: 04 and 05 wait for room.
				cancel()
				if err := <-wrote; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				fates.expect("01 delivered, 02 in-doubt, 03 in-doubt, 04 drain-timeout, 05 drain-timeout")
				expectInFlight(t, out, 0)
				if err := out.Close(); err == nil || !strings.Contains(err.Error(), "2 messages were not acknowledged") {
					t.Errorf("closed with %v", err)
				}
			})
		})
	}
}

// While there is no connection small writes become large batches.
func TestTCPMerges(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(nil)
		for _, id := range []string{"01", "02", "03", "04", "05"} {
			tcpWrite(t, out, t.Context(), fates.batch(0, id))
		}
		other := fates.batch(0, "06")
		other.Messages[0].Hop = 1 // a batch has one hop
		tcpWrite(t, out, t.Context(), other)
		l := r.accept(stream.Answer{})
		l.expectBatch(1, 5, "01 02 03 04 05")
		l.expectBatch(6, 6, "06")
		l.ack(6)
		closed := tcpClose(out)
		l.end()
		<-closed
		fates.expect("01 delivered, 02 delivered, 03 delivered, 04 delivered, 05 delivered, 06 delivered")
	})
}

func TestTCPRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer stream.Answer
		want   string // told, and said by Close
		fate   string
	}{
		{"in clear", stream.Answer{Refused: &stream.Refusal{Code: stream.CodeInsecure, Text: "use --insecure on both sides"}},
			"use --insecure on both sides", "01 unauthorized"},
		{"credentials", stream.Answer{Refused: &stream.Refusal{Code: stream.CodeUnauthorized, Text: "unknown token"}},
			"unknown token", "01 unauthorized"},
		{"another version", stream.Answer{Version: 2}, "the replayer speaks version 2", "01 send-error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
				out := r.output(nil)
				r.accept(test.answer)
				tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
				time.Sleep(10 * time.Second)
				if events, dials := r.seen(); dials != 1 || len(events) != 1 || !strings.Contains(events[0], test.want) {
					t.Errorf("%d attempts, told %q", dials, events)
				}
				if err := out.Close(); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("closed with %v", err)
				}
				fates.expect(test.fate)
			})
		})
	}
}

// A replayer that is busy or gone is tried again soon, and reported once.
func TestTCPTriesAgain(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		r.down = errors.New("connection refused")
		out := r.output(nil)
		tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
		time.Sleep(time.Minute)
		events, dials := r.seen()
		if want := []string{"connect to replayer replayer.test:28020: connection refused"}; !slices.Equal(events, want) {
			t.Errorf("told %q, want %q", events, want)
		}
		// 100 ms doubled up to 5 s, halved as much as Rand says.
		if dials < 15 || dials > 30 {
			t.Errorf("%d attempts in a minute", dials)
		}
		r.mu.Lock()
		r.down = nil
		r.mu.Unlock()
		r.accept(stream.Answer{Refused: &stream.Refusal{Code: stream.CodeBusy, Text: "busy"}})
		l := r.accept(stream.Answer{})
		l.expectBatch(1, 1, "01")
		l.ack(1)
		closed := tcpClose(out)
		l.end()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if events, _ := r.seen(); len(events) != 3 || events[2] != "connected" {
			t.Errorf("told %q", events)
		}
	})
}

func TestTCPNoticesDeadReplayer(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(nil)
		l := r.accept(stream.Answer{})
		begun := time.Now()
		tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
		l.expectBatch(1, 1, "01")
		// It reads on, and so the line is not closed, but says nothing.
		dead := l
		go func() {
			for {
				if _, err := stream.ReadFrame(dead.r, stream.Limits{}); err != nil {
					return
				}
			}
		}()
		l = r.accept(stream.Answer{})
		if d := time.Since(begun); d < 8*time.Second || d > 9*time.Second {
			t.Errorf("noticed after %v", d)
		}
		l.expectBatch(1, 1, "01")
		l.ack(1)
		// Heartbeats keep a connection without traffic.
		_, before := r.seen()
		for range 30 {
			if f, err := stream.ReadFrame(l.r, stream.Limits{}); err != nil || f.Type != stream.FrameAlive {
				t.Fatalf("%+v, %v where a heartbeat should come", f, err)
			}
			l.ack(1)
		}
		if _, after := r.seen(); after != before || time.Since(begun) < time.Minute {
			t.Errorf("%d attempts after %d, %v", after, before, time.Since(begun))
		}
		closed := tcpClose(out)
		l.end()
		<-closed
	})
}

func TestTCPTooLarge(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(nil)
		tcpWrite(t, out, t.Context(), fates.batch(2000, "01")) // before its limits are known
		tcpWrite(t, out, t.Context(), fates.batch(0, "02"))
		l := r.accept(stream.Answer{Limits: stream.Limits{Record: 1000}})
		synctest.Wait()
		tcpWrite(t, out, t.Context(), fates.batch(2000, "03"))
		tcpWrite(t, out, t.Context(), fates.batch(0, "04"))
		tcpWrite(t, out, t.Context(), fates.batch(30<<20, "05"))
		l.expectBatch(3, 3, "04")
		l.ack(3)
		closed := tcpClose(out)
		l.end()
		<-closed
		// 02 was in the batch of 01, which is given up as a whole.
		fates.expect("01 too-large, 02 too-large, 03 too-large, 04 delivered, 05 too-large")
	})
}

func TestTCPReplayerAgainstTheRules(t *testing.T) {
	for _, test := range []struct {
		name string
		act  func(l *tcpLine)
		want string
	}{
		{"acknowledges what was not sent", func(l *tcpLine) { l.ack(2) }, "acknowledges record 2, and 1 was the last one sent"},
		{"sends a batch", func(l *tcpLine) {
			var b stream.Builder
			b.Add((&tcpFates{t: l.t}).batch(0, "01").Messages[0])
			_, _ = l.conn.Write(b.Finish(1))
		}, "sends batches"},
		{"sends something else", func(l *tcpLine) { _, _ = l.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n")) }, "not the start of a frame"},
		{"says why it ends", func(l *tcpLine) {
			l.send(stream.Frame{Type: stream.FrameEnd, Code: stream.CodeClosing, Text: "the replayer is shutting down"})
		}, "the replayer is shutting down"},
		{"says nothing", func(l *tcpLine) { l.conn.Close() }, "the replayer closed the connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
				out := r.output(nil)
				l := r.accept(stream.Answer{})
				tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
				l.expectBatch(1, 1, "01")
				test.act(l)
				l = r.accept(stream.Answer{})
				l.expectBatch(1, 1, "01")
				synctest.Wait()
				if events, _ := r.seen(); len(events) != 3 || !strings.Contains(events[1], test.want) {
					t.Errorf("told %q, want %q", events, test.want)
				}
				fates.expect("")
				l.ack(1)
				closed := tcpClose(out)
				l.end()
				<-closed
				fates.expect("01 delivered")
			})
		})
	}
}

// A batch that the replayer cannot read is not sent for ever.
func TestTCPGivesUpDamagedBatch(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(nil)
		l := r.accept(stream.Answer{})
		tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
		l.expectBatch(1, 1, "01")
		tcpWrite(t, out, t.Context(), fates.batch(0, "02"))
		for range 2 {
			l.send(stream.Frame{Type: stream.FrameEnd, Code: stream.CodeDamaged, Text: "damaged"})
			l = r.accept(stream.Answer{})
			l.expectBatch(1, 1, "01")
		}
		l.send(stream.Frame{Type: stream.FrameEnd, Code: stream.CodeDamaged, Text: "damaged"})
		l = r.accept(stream.Answer{})
		l.expectBatch(2, 2, "02")
		l.ack(2)
		closed := tcpClose(out)
		l.end()
		<-closed
		fates.expect("01 damaged, 02 delivered")
	})
}

func TestTCPCloseGivesUpWithItsContext(t *testing.T) {
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(nil)
		l := r.accept(stream.Answer{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		tcpWrite(t, out, ctx, fates.batch(0, "01"))
		l.expectBatch(1, 1, "01")
		tcpWrite(t, out, ctx, fates.batch(0, "02")) // nobody reads it
		begun := time.Now()
		if err := out.Close(); err == nil {
			t.Error("closed without an error")
		}
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("closed after %v", d)
		}
		fates.expect("01 in-doubt, 02 in-doubt")
	})
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		r.down = errors.New("no route to host")
		out := r.output(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		tcpWrite(t, out, ctx, fates.batch(0, "01"))
		if err := out.Close(); err == nil || !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("closed with %v", err)
		}
		fates.expect("01 drain-timeout")
	})
}

func TestTCPInClear(t *testing.T) {
	for _, test := range []struct {
		address  string
		insecure bool
		want     string // in the error of NewTCP
	}{
		{"192.0.2.1:28020", false, "use --insecure on both sides"},
		{"[2001:db8::1]:28020", false, "use --insecure on both sides"},
		{"127.0.0.1:1", false, ""},
		{"[::1]:1", false, ""},
		{"[::ffff:127.0.0.1]:1", false, ""},
		{"replayer", false, "want host:port"},
		{"replayer:", false, "no port"},
	} {
		t.Run(test.address, func(t *testing.T) {
			out, err := output.NewTCP(output.TCPConfig{Address: test.address, Insecure: test.insecure})
			if err == nil {
				out.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	// A name says nothing about where it leads: the connection does.
	tcpTest(t, func(t *testing.T, r *tcpReplayer, fates *tcpFates) {
		out := r.output(func(c *output.TCPConfig) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				conn, _ := net.Pipe()
				return farConn{conn}, nil
			}
		})
		tcpWrite(t, out, t.Context(), fates.batch(0, "01"))
		synctest.Wait()
		if events, _ := r.seen(); len(events) != 1 || !strings.Contains(events[0], "traffic would go to 192.0.2.1 in clear") {
			t.Errorf("told %q", events)
		}
		out.Close()
		fates.expect("01 unauthorized")
	})
}

// A farConn says that it leads to another host.
type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 28020}
}
