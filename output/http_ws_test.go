package output_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"kagami"
	"kagami/internal/websocket"
	"kagami/output"
)

// askSocket is a request for a WebSocket, with the key of RFC 6455 §1.3.
func askSocket(fields ...string) *kagami.Message {
	return rawRequest(crlf(append([]string{"GET /chat HTTP/1.1", "Host: www", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}, fields...)...))
}

// acceptSocket is the answer to askSocket.
func acceptSocket(fields ...string) string {
	return crlf(append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: WebSocket", "Connection: upgrade",
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, fields...)...)
}

// rawFrame makes a frame: its first byte, and its payload with or without a mask.
func rawFrame(first byte, payload string, masked bool) []byte {
	h := websocket.Header{Fin: first&0x80 != 0, RSV1: first&0x40 != 0, Opcode: websocket.Opcode(first & 15), Masked: masked, Length: int64(len(payload))}
	if masked {
		h.Key = [4]byte{1, 2, 3, 4}
	}
	b := h.Append(nil)
	p := []byte(payload)
	if masked {
		websocket.Mask(h.Key, 0, p)
	}
	return append(b, p...)
}

// frameOf is a client's frame of the WebSocket that ask asked for.
func frameOf(ask *kagami.Message, first byte, payload string) *kagami.Message {
	return &kagami.Message{Kind: kagami.Request, Proto: kagami.WebSocket, Exchange: ask.Exchange, Raw: rawFrame(first, payload, true)}
}

const textFrame, closeFrame, pingFrame, pongFrame = 0x81, 0x88, 0x89, 0x8a

// A socketServer is one end of a WebSocket, read with nothing of the sender's.
type socketServer struct {
	mu     sync.Mutex
	asked  []string
	frames []string
	keys   map[string]bool // masks
	reply  string
}

// read reads frames as they are on the wire, until the connection ends. each is told of
// them, and may stop it.
func (s *socketServer) read(r *bufio.Reader, each func(frame string) (more bool)) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int64(head[1] & 0x7f)
		for extra := map[int64]int{126: 2, 127: 8}[n]; extra > 0; {
			n = 0
			for ; extra > 0; extra-- {
				b, _ := r.ReadByte()
				n = n<<8 | int64(b)
			}
		}
		var key [4]byte
		if head[1]&0x80 != 0 {
			io.ReadFull(r, key[:])
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return
		}
		for i := range p {
			p[i] ^= key[i%4]
		}
		frame := fmt.Sprintf("%02x masked=%v %.60q %d", head[0], head[1]&0x80 != 0, p, n)
		s.mu.Lock()
		s.frames = append(s.frames, frame)
		s.keys[string(key[:])] = true
		s.mu.Unlock()
		if each != nil && !each(frame) {
			return
		}
	}
}

// serve returns what serves a connection: it answers the request and reads frames. talk,
// if set, is what it does behind its answer instead.
func (s *socketServer) serve(talk func(c net.Conn, r *bufio.Reader)) func(int64, net.Conn, *bufio.Reader) {
	s.keys = map[string]bool{}
	return func(_ int64, c net.Conn, r *bufio.Reader) {
		req, err := readRequest(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.asked = append(s.asked, req)
		s.mu.Unlock()
		io.WriteString(c, s.reply)
		if talk != nil {
			talk(c, r)
			return
		}
		s.read(r, func(f string) bool {
			if strings.HasPrefix(f, "88") {
				c.Write(rawFrame(closeFrame, "\x03\xe8", false))
				return false
			}
			return true
		})
	}
}

func (s *socketServer) want(t *testing.T, frames ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(frames) != len(s.frames) {
		t.Errorf("%d frames came, want %d: %q", len(s.frames), len(frames), s.frames)
		return
	}
	for i, f := range s.frames {
		if f != frames[i] {
			t.Errorf("frame %d: %s, want %s", i, f, frames[i])
		}
	}
}

// came is how the server notes a frame.
func came(first byte, payload string) string {
	return fmt.Sprintf("%02x masked=true %.60q %d", first, payload, len(payload))
}

var socketWays = []string{"loop", "goroutines", "TLS"}

// The request goes out as what it is, and then the frames as they were recorded, each with
// a mask of its own.
func TestHTTPWebSocket(t *testing.T) {
	for _, way := range socketWays {
		t.Run(way, func(t *testing.T) {
			s := &socketServer{reply: acceptSocket("Sec-WebSocket-Extensions: permessage-deflate")}
			cfg := output.HTTPConfig{Connections: 1}
			raw := serveWay(t, way, &cfg, s.serve(nil))
			h, seen := newHTTP(t, cfg), watch(t)
			defer raw.Close()
			ask := askSocket("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
			large := strings.Repeat("0123456789", 20_000)
			write(t, h, seen, ask, frameOf(ask, textFrame, "hello"), frameOf(ask, 0x41, "a part"), frameOf(ask, pingFrame, "!"), frameOf(ask, 0x80, "the rest"),
				frameOf(ask, 0x82, large), frameOf(ask, 0x82, strings.Repeat("y", 126)), frameOf(ask, pongFrame, ""), frameOf(ask, closeFrame, "\x03\xe8bye"))
			seen.await(9)
			seen.want(make([]kagami.Reason, 9)...)
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			s.want(t, came(0x81, "hello"), came(0x41, "a part"), came(0x89, "!"), came(0x80, "the rest"), came(0x82, large), came(0x82, strings.Repeat("y", 126)), came(0x8a, ""), came(0x88, "\x03\xe8bye"))
			if len(s.keys) != 8 || s.keys["\x01\x02\x03\x04"] {
				t.Errorf("8 frames have %d masks, or the recorded one", len(s.keys))
			}
			want := crlf("GET /chat HTTP/1.1", "Host: "+raw.Addr().String(), "Upgrade: websocket", "Connection: Upgrade",
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
				"Kagami-Replay: 0102030405")
			if s.asked[0] != want {
				t.Errorf("the request is\n%s\nwant\n%s", s.asked[0], want)
			}
			st := h.Stats().WebSockets
			if st.Open != 0 || st.Accepted != 1 || st.Sent != 8 || st.Received != 1 || st.Ended[output.WSRecording] != 1 {
				t.Errorf("%+v", st)
			}
			if st := h.Stats(); st.Requests != 1 || st.Answers[1] != 1 || st.Down || h.InFlight() != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// What servers do wrong, or do not want, and what becomes of the request and its frames.
func TestHTTPWebSocketFaults(t *testing.T) {
	const no, late = kagami.NoWebSocket, kagami.Timeout
	upTo := func(n int, what func(c net.Conn)) func(s *socketServer) func(net.Conn, *bufio.Reader) {
		return func(s *socketServer) func(net.Conn, *bufio.Reader) {
			return func(c net.Conn, r *bufio.Reader) {
				if left := n; left > 0 {
					s.read(r, func(string) bool { left--; return left > 0 })
				}
				what(c)
				io.Copy(io.Discard, r)
			}
		}
	}
	send := func(frames ...string) func(c net.Conn) {
		return func(c net.Conn) { io.WriteString(c, strings.Join(frames, "")) }
	}
	silent := func(net.Conn) {}
	end := func(c net.Conn) { c.Close() }
	finish := func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() } // and frames that still come are no error
	for _, c := range []struct {
		name  string
		reply string
		talk  func(s *socketServer) func(net.Conn, *bufio.Reader)
		ask   kagami.Reason
		left  kagami.Reason // of the frames that come later
		end   output.WSEnd
		open  bool // it was
	}{
		{"refuses", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", upTo(0, end), kagami.Delivered, no, 0, false},
		{"refuses without an end", "HTTP/1.1 403 Forbidden\r\n\r\nno", upTo(0, end), kagami.Delivered, no, 0, false},
		{"redirects", "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", upTo(0, end), kagami.Delivered, no, 0, false},
		{"hints first, and refuses", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", upTo(0, end), kagami.Delivered, no, 0, false},
		{"never answers", "", upTo(0, silent), kagami.Timeout, kagami.RequestDropped, 0, false},
		{"stops in the answer", acceptSocket()[:50], upTo(0, silent), kagami.Timeout, kagami.RequestDropped, 0, false},
		{"closes in the answer", acceptSocket()[:50], upTo(0, end), kagami.SendError, kagami.RequestDropped, 0, false},
		{"resets instead", "", upTo(0, reset), kagami.SendError, kagami.RequestDropped, 0, false},
		{"speaks something else", "SSH-2.0-OpenSSH_9.6\r\n", upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"has another key", strings.Replace(acceptSocket(), "s3p", "s3q", 1), upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"has no key", strings.Replace(acceptSocket(), "-Accept", "-Except", 1), upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"switches to something else", strings.Replace(acceptSocket(), "WebSocket", "h2c", 1), upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"has an extension of its own", acceptSocket("Sec-WebSocket-Extensions: x-secret"), upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"has a subprotocol of its own", acceptSocket("Sec-WebSocket-Protocol: secret"), upTo(0, silent), kagami.SendError, kagami.RequestDropped, 0, false},
		{"closes in the middle", acceptSocket(), upTo(2, finish), kagami.Delivered, no, output.WSTarget, true},
		{"resets in the middle", acceptSocket(), upTo(2, reset), kagami.Delivered, no, output.WSError, true},
		{"says Close in the middle", acceptSocket(), upTo(2, send(string(rawFrame(closeFrame, "\x03\xe9", false)))), kagami.Delivered, no, output.WSTarget, true},
		{"sends garbage", acceptSocket(), upTo(2, send("garbage, and more of it")), kagami.Delivered, no, output.WSError, true},
		{"sends a frame with a mask", acceptSocket(), upTo(2, send(string(rawFrame(textFrame, "x", true)))), kagami.Delivered, no, output.WSError, true},
		{"sends a ping that is too long", acceptSocket(), upTo(2, send("\x89\x7e\x00\x7e")), kagami.Delivered, no, output.WSError, true},
		{"ends in a frame", acceptSocket(), upTo(2, func(c net.Conn) { io.WriteString(c, "\x81\x05abc"); c.Close() }), kagami.Delivered, no, output.WSError, true},
		{"does not read", acceptSocket(), func(*socketServer) func(net.Conn, *bufio.Reader) {
			return func(c net.Conn, r *bufio.Reader) { // until the sender is gone, without a byte
				for c.SetReadDeadline(time.Now().Add(10*time.Millisecond)) == nil {
					if _, err := c.Write(rawFrame(pongFrame, "", false)); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		}, kagami.Delivered, late, output.WSError, true},
	} {
		for _, way := range socketWays {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				s := &socketServer{reply: c.reply}
				cfg := output.HTTPConfig{Timeout: 30 * time.Second}
				if c.ask == kagami.Timeout || c.left == late {
					cfg.Timeout, cfg.OnFull = 3*time.Second, output.WaitWhenFull
				}
				serveWay(t, way, &cfg, s.serve(c.talk(s)))
				h, seen := newHTTP(t, cfg), watch(t)
				ask := askSocket()
				early := []*kagami.Message{ask, frameOf(ask, textFrame, "1"), frameOf(ask, textFrame, "2")}
				if c.left == late {
					early[1].Raw = rawFrame(0x82, strings.Repeat("x", 16_000_000), true)
				}
				write(t, h, seen, early...)
				seen.await(3)
				// More frames, until one finds that it is over.
				var later *settlements
				for range 2000 {
					later = watch(t)
					write(t, h, later, frameOf(ask, textFrame, "3"))
					later.await(1)
					if later.count(kagami.Delivered) == 0 {
						break
					}
					time.Sleep(time.Millisecond) // the peer's end is on its way, and nobody tells
				}
				for later.count(kagami.SendError) == 1 { // the one that found out
					later = watch(t)
					write(t, h, later, frameOf(ask, textFrame, "4"))
					later.await(1)
				}
				switch {
				case c.left == late:
					seen.want(c.ask, kagami.Timeout, kagami.NoWebSocket)
				case c.open:
					seen.want(c.ask, kagami.Delivered, kagami.Delivered)
					later.want(c.left)
				default:
					seen.want(c.ask, c.left, c.left)
					later.want(c.left)
				}
				if err := h.Close(); err != nil || h.InFlight() != 0 {
					t.Errorf("%v, %d in flight", err, h.InFlight())
				}
				st := h.Stats().WebSockets
				if accepted := st.Accepted == 1; accepted != c.open || st.Open != 0 || c.open && st.Ended[c.end] != 1 || st.Accepted+st.Refused+st.Failed != 1 {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}
