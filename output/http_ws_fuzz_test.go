package output

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/websocket"
)

// A sink is a connection that takes what is written.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error)    { return s.Buffer.Write(p) }
func (s *sink) Read(p []byte) (int, error)     { return s.Buffer.Read(p) }
func (*sink) SetWriteDeadline(time.Time) error { return nil }
func (*sink) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *sink) frames() []byte                 { return s.Buffer.Bytes() }

// Whatever a target sends, in whatever parts: what is kept of it is bounded, what is sent back are
// frames of a client, a pong for each ping, and at most one Close, the last.
func FuzzWebSocketTarget(f *testing.F) {
	accept := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	f.Add([]byte(accept+"\x81\x05hello\x89\x01!\x88\x02\x03\xe8"), uint8(3))
	f.Add([]byte(accept+"\x01\x01a\x89\x00\x80\x01b\x82\x7e\x00\x80"), uint8(200))
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"), uint8(1))
	f.Add([]byte(accept+"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffendless"), uint8(255))
	f.Add([]byte("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Extensions: permessage-deflate; a=\"b,c\", x\r\n\r\n\xc1\x00"), uint8(9))
	request := []byte("GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		const keep = 300
		part := int(size)%64 + 1
		a := wsAnswer{keep: keep, framer: http1.Framer{Response: true}}
		var rest []byte
		done := false
		for from := 0; from < len(data) && !done; from += part {
			var err error
			to := min(len(data), from+part)
			if rest, done, err = a.feed(data[from:to]); err != nil {
				return
			}
			rest = append(bytes.Clone(rest), data[to:]...)
			if len(a.raw) > keep {
				t.Fatalf("%d bytes of an answer are kept", len(a.raw))
			}
		}
		if !done || a.status != 101 {
			return
		}
		_, _ = websocket.Verify(request, a.raw)
		var handed []*kagami.Message
		conn := &sink{}
		h := &HTTP{cfg: HTTPConfig{Timeout: time.Second, Answers: takes{&handed}}}
		s := newWSSession(newWSTable(h), &kagami.Exchange{})
		s.nc, s.job = conn, httpJob{m: &kagami.Message{Exchange: s.exchange}, ctx: t.Context()}
		s.reads = wsReader{framer: websocket.Framer{Server: true}, keep: keep}
		for from := 0; from < len(rest); from += part {
			if !s.take(rest[from:min(len(rest), from+part)]) {
				break
			}
			if len(s.reads.raw) > keep {
				t.Fatalf("%d bytes of a frame are kept", len(s.reads.raw))
			}
		}
		var pings, pongs [][]byte
		for _, m := range handed {
			if m.Proto != kagami.WebSocket || len(m.Raw) > keep || m.WireLen < len(m.Raw) || (m.WireLen > len(m.Raw)) != (m.Flags&kagami.Truncated != 0) {
				t.Errorf("handed on: %+v", m)
			}
			if hd, p, err := websocket.Payload(m.Raw); err == nil && hd.Opcode == websocket.Ping {
				pings = append(pings, p)
			}
		}
		var framer websocket.Framer
		for b := conn.frames(); len(b) > 0; {
			n, done, err := framer.Feed(b)
			if err != nil || !done {
				t.Fatalf("what is sent is no frame of a client: %x: %v", b, err)
			}
			hd, p, _ := websocket.Payload(b[:n])
			switch hd.Opcode {
			case websocket.Pong:
				pongs = append(pongs, p)
			case websocket.Close:
				if !s.reads.bad || n != len(b) {
					t.Errorf("a Close is sent to what is well formed, or %d bytes behind it", len(b)-n)
				}
			default:
				t.Errorf("a frame %v of our own", hd.Opcode)
			}
			b = b[n:]
		}
		if !bytes.Equal(bytes.Join(pings, []byte{0}), bytes.Join(pongs, []byte{0})) || len(pings) != len(pongs) {
			t.Errorf("pings %q, pongs %q", pings, pongs)
		}
	})
}

// takes is an output that keeps what it is given.
type takes struct{ all *[]*kagami.Message }

func (o takes) Write(_ context.Context, b kagami.Batch) error {
	*o.all = append(*o.all, b.Messages...)
	return nil
}

func (takes) Close() error { return nil }

// Whatever a recording has for frames: what is sent are whole frames of a client, with the payloads
// of the recorded ones, up to the first that can't be sent.
func FuzzWebSocketFrame(f *testing.F) {
	f.Add([]byte("\x81\x81abcdx"), []byte("\x88\x80abcd"), true)
	f.Add([]byte("\x01\x81abcdx"), []byte("\x89\x80abcd"), false)
	f.Add([]byte("\xc1\xfe\x00\x7eabcd"), []byte("\x80\x80abcd"), true)
	f.Fuzz(func(t *testing.T, first, second []byte, deflate bool) {
		conn := &sink{}
		h := &HTTP{cfg: HTTPConfig{Timeout: time.Second}}
		s := newWSSession(newWSTable(h), &kagami.Exchange{})
		s.nc, s.agreed.Deflate = conn, deflate
		var want []string
		for _, raw := range [][]byte{first, second} {
			j := httpJob{m: &kagami.Message{Kind: kagami.Request, Proto: kagami.WebSocket, Raw: raw, Exchange: s.exchange}, ctx: t.Context()}
			r, _ := s.send(&j)
			if r == kagami.Delivered {
				hd, p, err := websocket.Payload(raw)
				if err != nil || len(raw) != hd.Len+len(p) {
					t.Fatalf("%x was sent: %v", raw, err)
				}
				want = append(want, string(raw[:1])+string(p))
				continue
			}
			if r != kagami.NotReplayable && r != kagami.SendError {
				t.Errorf("%x: %v", raw, r)
			}
			break
		}
		var framer websocket.Framer
		var got []string
		for b := conn.frames(); len(b) > 0; {
			n, done, err := framer.Feed(b)
			if err != nil || !done {
				t.Fatalf("%x is no frame of a client: %v", b, err)
			}
			_, p, _ := websocket.Payload(b[:n])
			got = append(got, string(b[:1])+string(p))
			b = b[n:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	})
}
