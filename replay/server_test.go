package replay_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/replay"
)

func TestServerAcknowledgesWhatIsSettled(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, a := s.connect(1)
		if a.Refused != nil || a.Received != 0 || a.Acknowledged != 0 {
			t.Fatalf("answer %+v", a)
		}
		p.write(wireBatch(1, "01", "02"))
		p.write(wireBatch(3, "03"))
		p.write(wireBatch(4, "04"))
		s.expectIDs("01 02 03 04")
		if hop := s.emitted[0].m.Hop; hop != 1 {
			t.Errorf("hop %d, want that of the sender and one", hop)
		}
		s.settle(2, 3, 0) // 03 and 04 before 02: nothing to acknowledge yet
		p.expectAck(0)    // a heartbeat
		s.settle(1)
		p.expectAck(4)
		s.expectStage(4, 4, "")
		p.write(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameEnd}))
		p.expectCut()
		s.expectErrors()
		if st := s.server.Stats(); st != (replay.ServerStats{Accepted: 1}) {
			t.Errorf("%+v", st)
		}
	})
}

func TestServerEmitsNothingTwice(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		p.write(wireBatch(1, "01"))
		p.write(wireBatch(2, "02"))
		s.expectIDs("01 02")
		s.settle(0)
		p.expectAck(1)
		p.conn.Close()
		synctest.Wait()

		// What was emitted over the connection before is settled after it.
		p, a := s.connect(3)
		if a.Received != 2 || a.Acknowledged != 1 {
			t.Errorf("answer %+v, want 2 received and 1 acknowledged", a)
		}
		p.write(wireBatch(1, "01")) // it need not, but may
		p.write(wireBatch(2, "02"))
		p.write(wireBatch(3, "03"))
		s.expectIDs("01 02 03")
		s.settle(1, 2)
		p.expectAck(3)
		s.expectStage(3, 3, "")

		// Another run of the same listener has other numbers.
		q := s.dial(nil)
		if a := q.hello(stream.Hello{Listener: "edge-1", Epoch: 6, Next: 1}); a.Received != 0 || a.Refused != nil {
			t.Errorf("answer %+v to another epoch", a)
		}
		q.write(wireBatch(1, "04"))
		s.expectIDs("01 02 03 04")
		s.expectErrors("went away")
	})
}

// A listener that comes back before its old connection is known to be dead
// must not wait for that.
func TestServerReplacesConnection(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		p.write(wireBatch(1, "01"))
		s.expectIDs("01")
		q, a := s.connect(2)
		if a.Received != 1 {
			t.Errorf("answer %+v", a)
		}
		p.expectCut()
		q.write(wireBatch(2, "02"))
		s.expectIDs("01 02")
		s.settle(0, 1)
		q.expectAck(2)
		s.expectErrors()
	})
}

func TestServerJoinsAnswers(t *testing.T) {
	batch := func() []byte {
		var b stream.Builder
		b.Add(wireMessage(kagami.Request, "01", 0))
		b.Add(wireMessage(kagami.Response, "01", 0))
		b.Add(wireMessage(kagami.Response, "02", 0))
		b.Add(wireMessage(77, "03", 0))
		return b.Finish(1)
	}
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		p.write(batch())
		s.expectIDs("01 01")
		if x, y := s.emitted[0].m.Exchange, s.emitted[1].m.Exchange; x != y || x.Method != "GET" {
			t.Errorf("exchanges %p %+v and %p %+v, want the same", x, x, y, y)
		}
		s.expectStage(4, 2, "orphan-response 1, unknown-kind 1")
		s.settle(0, 1)
		p.expectAck(4)
	})
	startServer(t, nil, func(s *serverTest) { // no answers were announced
		p := s.dial(nil)
		p.hello(stream.Hello{Listener: "edge-1", Next: 1})
		p.write(batch())
		s.expectIDs("01")
		s.expectStage(4, 1, "orphan-response 2, unknown-kind 1")
	})
}

func TestServerDrains(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		p.write(wireBatch(1, "01", "02"))
		p.write(wireBatch(3, "03"))
		s.expectIDs("01 02 03")
		s.stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		go p.conn.Write(wireBatch(4, "04")) // too late
		// The pipeline shuts its outputs down, and they settle.
		s.settle(0, 1)
		p.expectAck(2)
		s.settle(2)
		closed := make(chan error, 1)
		go func() { closed <- s.server.Close() }()
		p.expectEnd(3, stream.CodeClosing, "shutting down")
		if err := <-closed; err != nil {
			t.Error(err)
		}
		s.expectIDs("01 02 03")
		s.expectErrors()
	})
}

// What there was no time for is left to the next server.
func TestServerDrainsInPart(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		for i, id := range []string{"01", "02", "03"} {
			p.write(wireBatch(uint64(i)+1, id))
		}
		s.expectIDs("01 02 03")
		s.emitted[0].settle(kagami.DrainTimeout) // an output that is closed while the server runs
		p.expectAck(1)
		s.stop()
		<-s.ended
		s.emitted[1].settle(kagami.DrainTimeout)
		s.emitted[2].settle(kagami.Delivered)
		go s.server.Close()
		p.expectEnd(1, stream.CodeClosing, "shutting down")
	})
}

func TestServerClose(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		p, _ := s.connect(1)
		s.hold = make(chan struct{}) // emit blocks until its context is done
		p.write(wireBatch(1, "01"))
		s.expectIDs("01")
		go s.server.Close()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		p.expectEnd(0, stream.CodeClosing, "shutting down")
		s.settle(0) // late, and harmless
	})
	startServer(t, nil, func(s *serverTest) { // nobody listens
		s.connect(1)
		s.dial(nil)
		begun := time.Now()
		if err := s.server.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("closed after %v", d)
		}
		s.expectErrors()
	})
	s, err := replay.NewServer(replay.ServerConfig{Listener: newPipes()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Run(t.Context(), nil); err != nil {
		t.Errorf("Run of a closed server: %v", err)
	}
	if err := s.Run(t.Context(), nil); err == nil {
		t.Error("it was run twice")
	}
}

func TestServerEmitFails(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		s.fail = errors.New("output is broken")
		p, _ := s.connect(1)
		p.write(wireBatch(1, "01"))
		if err := <-s.ended; err != s.fail {
			t.Errorf("Run returned %v", err)
		}
		s.settle(0)
		go s.server.Close()
		p.expectEnd(0, stream.CodeClosing, "")
	})
}

func TestServerRefuses(t *testing.T) {
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 40000}
	near := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}
	hello := stream.Hello{Listener: "edge-1", Next: 1}
	for _, test := range []struct {
		name   string
		from   net.Addr
		agreed bool // of the server
		change func(*stream.Hello)
		code   stream.Code // 0: it is let in
		text   string
	}{
		{"from afar, neither agreed", far, false, nil, stream.CodeInsecure, "use --insecure on both sides"},
		{"from afar, the listener did not agree", far, true, nil, stream.CodeInsecure, "use --insecure on both sides"},
		{"from afar, the replayer did not agree", far, false, func(h *stream.Hello) { h.Insecure = true }, stream.CodeInsecure, "use --insecure on both sides"},
		{"from afar, both agreed", far, true, func(h *stream.Hello) { h.Insecure = true }, 0, ""},
		{"from the same host", near, false, nil, 0, ""},
		{"another version", near, false, func(h *stream.Hello) { h.Version = 9 }, stream.CodeProtocol, "speaks version 9"},
		{"without answers, which are not needed", near, false, func(h *stream.Hello) { h.Responses = false }, 0, ""},
		{"a circle", near, false, func(h *stream.Hello) { h.Hop = 255 }, stream.CodeProtocol, "in a circle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			startServer(t, func(c *replay.ServerConfig) { c.Insecure = test.agreed }, func(s *serverTest) {
				p, h := s.dial(test.from), hello
				if test.change != nil {
					test.change(&h)
				}
				a := p.hello(h)
				if test.code == 0 {
					if a.Refused != nil {
						t.Errorf("refused: %v", a.Refused)
					}
					return
				}
				if a.Refused == nil || a.Refused.Code != test.code || !strings.Contains(a.Refused.Text, test.text) {
					t.Errorf("answer %+v, want code %d, %q", a.Refused, test.code, test.text)
				}
				p.conn.Close()
				s.expectErrors("refused: ")
				if n := s.server.Stats().Refused; n != 1 {
					t.Errorf("%d refused", n)
				}
			})
		})
	}
}

func TestServerRefusesWhoSendsNoAnswers(t *testing.T) {
	for _, responses := range []bool{false, true} {
		startServer(t, func(c *replay.ServerConfig) { c.NeedResponses = true }, func(s *serverTest) {
			p := s.dial(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000})
			a := p.hello(stream.Hello{Listener: "edge-1", Next: 1, Responses: responses})
			p.conn.Close()
			if responses {
				if a.Refused != nil {
					t.Errorf("refused: %v", a.Refused)
				}
				return
			}
			if a.Refused == nil || !a.Refused.Code.Lasting() || !strings.Contains(a.Refused.Text, "start the listener with --input-raw-track-response") {
				t.Errorf("answer %+v", a.Refused)
			}
			s.expectErrors("refused: ")
		})
	}
}

func TestServerLimitsConnections(t *testing.T) {
	startServer(t, func(c *replay.ServerConfig) { c.MaxConnections = 2; c.MaxSessions = 2 }, func(s *serverTest) {
		s.connect(1)
		q := s.dial(nil)
		q.hello(stream.Hello{Listener: "edge-2", Next: 1})
		r := s.dial(nil)
		if a := r.hello(stream.Hello{Listener: "edge-3", Next: 1}); a.Refused == nil || a.Refused.Code != stream.CodeBusy {
			t.Errorf("answer %+v", a)
		}
		r.conn.Close()
		synctest.Wait()

		// One that has gone is forgotten for a new one, but not while it has
		// something unsettled.
		q.write(wireBatch(1, "01"))
		synctest.Wait()
		q.conn.Close()
		synctest.Wait()
		r = s.dial(nil)
		if a := r.hello(stream.Hello{Listener: "edge-3", Next: 1}); a.Refused == nil || !strings.Contains(a.Refused.Text, "still works for 2 listeners") {
			t.Errorf("answer %+v", a)
		}
		r.conn.Close()
		s.settle(0)
		r = s.dial(nil)
		if a := r.hello(stream.Hello{Listener: "edge-3", Next: 1}); a.Refused != nil {
			t.Errorf("answer %+v", a.Refused)
		}
		s.expectErrors("edge-3", "edge-2", "edge-3")
	})
}

// alter returns a batch that f changed, with its CRC-32C made right.
func alter(batch []byte, f func(b []byte)) []byte {
	b := bytes.Clone(batch)
	f(b)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(b[28:], crc32.Update(crc32.Checksum(b[:28], table), table, b[32:]))
	return b
}

func TestServerCutsOff(t *testing.T) {
	good := wireBatch(1, "01", "02")
	for _, test := range []struct {
		name string
		send []byte
		want string
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: replayer\r\n\r\n"), "not the start of a frame"},
		{"a bit turned", append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), "CRC-32C"},
		{"4 GiB", alter(good, func(b []byte) { copy(b[20:], "\xff\xff\xff\xff\xff\xff\xff\xff") }), "too large"},
		{"4 billion records", alter(good, func(b []byte) { copy(b[16:], "\xff\xff\xff\xff") }), "too large"},
		{"more records than bytes", alter(good, func(b []byte) { copy(b[16:], "\x00\x00\xff\xff") }), "65535 records in"},
		{"no records", alter(good, func(b []byte) { copy(b[16:], "\x00\x00\x00\x00") }), "0 records"},
		{"a record less", alter(good, func(b []byte) { b[19] = 1 }), "behind the last record"},
		{"a record more", alter(good, func(b []byte) { b[19] = 3 }), "record of 0 bytes"},
		{"a record that is too long", alter(good, func(b []byte) { copy(b[32:], "\x7f\xff\xff\xff") }), "too large"},
		{"a record longer than its batch", alter(good, func(b []byte) { copy(b[32:], "\x00\x01\x00\x00") }), "left of its batch"},
		{"a field longer than its record", alter(good, func(b []byte) { b[41] = 0x7f }), "does not fit"},
		{"an id of 21 bytes", alter(good, func(b []byte) { b[41] = 21 }), "id of 21 bytes"},
		{"a newer version", alter(good, func(b []byte) { b[4] = 2 }), "format version 2"},
		{"compressed", alter(good, func(b []byte) { b[5] = 1 }), "says its records have"},
		{"an unknown flag", alter(good, func(b []byte) { b[5] = 0x80 }), "unknown flags"},
		{"a sequence that wraps", alter(good, func(b []byte) { copy(b[8:], bytes.Repeat([]byte{0xff}, 8)) }), "sequence number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			startServer(t, nil, func(s *serverTest) {
				p, _ := s.connect(1)
				go p.conn.Write(test.send)
				p.expectEnd(0, stream.CodeDamaged, test.want)
				s.expectErrors(test.want)
				s.expectIDs("")
				s.expectStage(0, 0, "")
				if n := s.server.Stats().Garbage; n != 1 {
					t.Errorf("%d counted", n)
				}
			})
		})
	}
}

func TestServerCutInTheMiddle(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		batch := wireBatch(1, "01", "02")
		for _, n := range []int{0, 2, 31, 32, len(batch) - 1} {
			p, a := s.connect(1)
			if a.Received != 0 {
				t.Errorf("answer %+v", a)
			}
			if n > 0 {
				p.write(batch[:n])
			}
			p.conn.Close()
			synctest.Wait()
		}
		s.expectIDs("")
		p, _ := s.connect(1)
		p.write(batch)
		s.expectIDs("01 02")
		s.expectErrors("went away", "EOF", "EOF", "EOF", "EOF")
		if n := s.server.Stats().Garbage; n != 0 {
			t.Errorf("%d counted as garbage", n)
		}
	})
}

func TestServerHandshake(t *testing.T) {
	hello := stream.AppendHello(nil, stream.Hello{Listener: "edge-1", Next: 1})
	for _, test := range []struct {
		name string
		send []byte
		want string // "" is nothing, and not counted
	}{
		{"silence", nil, "no hello within 5s"},
		{"half a hello", hello[:11], "no hello within 5s"},
		{"GoReplay", []byte("1 a20000d3b5a6 1700000000000000000 0\n"), "it looks like a GoReplay listener"},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "it looks like an HTTP client"},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01"), "it looks like TLS"},
		{"a bit turned", append(bytes.Clone(hello[:len(hello)-1]), hello[len(hello)-1]^1), "CRC-32C"},
		{"64 KiB", []byte("KGM1\x01\x00\xff\xff"), "too large"},
		{"no name", stream.AppendHello(nil, stream.Hello{Next: 1}), "without the listener's id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			startServer(t, nil, func(s *serverTest) {
				p, begun := s.dial(nil), time.Now()
				go p.conn.Write(test.send)
				p.expectCut()
				if d := time.Since(begun); d > 5*time.Second {
					t.Errorf("cut off after %v", d)
				}
				s.expectErrors(test.want)
				if n := s.server.Stats().Garbage; n != 1 {
					t.Errorf("%d counted", n)
				}
			})
		})
	}
	startServer(t, nil, func(s *serverTest) {
		s.dial(nil).conn.Close() // somebody looked whether the port is open
		s.expectErrors()
	})
}

func TestServerSlowPeers(t *testing.T) {
	startServer(t, nil, func(s *serverTest) {
		begun := time.Now()
		p, _ := s.connect(1)
		for time.Since(begun) < time.Minute { // heartbeats in both directions
			p.write(stream.AppendFrame(nil, stream.Frame{Type: stream.FrameAlive}))
			p.expectAck(0)
		}
		begun = time.Now()
		gone := make(chan struct{})
		go func() { // a byte a second is no sign of life
			defer close(gone)
			for _, b := range wireBatch(1, "01", "02") {
				if _, err := p.conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		for {
			if _, err := stream.ReadFrame(p.r, stream.Limits{}); err != nil {
				break
			}
		}
		if d := time.Since(begun); d > 16*time.Second {
			t.Errorf("cut off after %v", d)
		}
		<-gone
		s.expectErrors("no sign of life for 8s")
		s.expectIDs("")
	})
}

// The server reads no more than it may hold.
func TestServerFlowControl(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*replay.ServerConfig)
	}{
		{"of a listener", func(c *replay.ServerConfig) { c.Window = 3000 }},
		{"of all", func(c *replay.ServerConfig) { c.Memory = 3000 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			startServer(t, test.change, func(s *serverTest) {
				p, _ := s.connect(1)
				sent := make(chan int, 10)
				go func() {
					for i, id := range []string{"01", "02", "03", "04"} {
						var b stream.Builder
						b.Add(wireMessage(kagami.Request, id, 1000))
						if _, err := p.conn.Write(b.Finish(uint64(i) + 1)); err != nil {
							return
						}
						sent <- i
					}
				}()
				s.expectIDs("01 02")
				s.settle(0)
				s.expectIDs("01 02 03")
				s.settle(1, 2)
				s.expectIDs("01 02 03 04")
				s.settle(3)
				p.expectAck(4)
				// Larger than the window: alone it passes.
				var b stream.Builder
				b.Add(wireMessage(kagami.Request, "05", 10000))
				p.write(b.Finish(5))
				s.expectIDs("01 02 03 04 05")
			})
		})
	}
}
