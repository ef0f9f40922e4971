package websocket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kagami/internal/websocket"
)

// frame makes a frame: its first byte, and its payload with or without a mask.
func frame(first byte, payload string, masked bool) string {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	p := []byte(payload)
	if masked {
		key := [4]byte{1, 0x80, 0xff, 7}
		b[1] |= 0x80
		b = append(b, key[:]...)
		for i := range p {
			p[i] ^= key[i%4]
		}
	}
	return string(append(b, p...))
}

// frames feeds bytes in pieces of n, and describes the frames they are: "text 5,
// ping 0, error".
func frames(t testing.TB, stream string, server bool, n int) string {
	var got []string
	f := websocket.Framer{Server: server}
	var whole []byte
	for len(stream) > 0 {
		p := []byte(stream[:min(n, len(stream))])
		stream = stream[len(p):]
		for len(p) > 0 {
			m, done, err := f.Feed(p)
			if err != nil {
				if _, _, again := f.Feed([]byte("x")); !errors.Is(err, websocket.ErrFrame) || again != err {
					t.Errorf("%v, then %v", err, again)
				}
				return strings.Join(append(got, "error"), ", ")
			}
			if whole = append(whole, p[:m]...); done {
				h, payload, err := websocket.Payload(whole)
				if err != nil || *f.Header() != h || int64(len(payload)) != h.Length || f.Remaining() != 0 || f.Begun() {
					t.Errorf("%+v, %v: %+v, %d bytes", f.Header(), err, h, len(payload))
				}
				s := fmt.Sprint(h.Opcode, " ", len(payload))
				if !h.Fin {
					s += " and more"
				}
				if h.RSV1 {
					s += " compressed"
				}
				if i := strings.IndexFunc(string(payload), func(r rune) bool { return r != 'x' }); i >= 0 {
					t.Errorf("payload %q", payload)
				}
				got, whole = append(got, s), nil
			} else if m < len(p) {
				t.Fatalf("%d of %d bytes consumed, not done", m, len(p))
			}
			p = p[m:]
		}
	}
	if f.Begun() != (len(whole) > 0) {
		t.Errorf("begun is %v after %d bytes", f.Begun(), len(whole))
	}
	if f.Begun() {
		got = append(got, "half")
	}
	return strings.Join(got, ", ")
}

func TestFramer(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name   string
		first  []byte // of each frame
		length []int  // of its payload
		want   string
	}{
		{"text", []byte{0x81}, []int{5}, "text 5"},
		{"empty", []byte{0x82, 0x81}, []int{0, 0}, "binary 0, text 0"},
		{"lengths", []byte{0x82, 0x82, 0x82, 0x82, 0x82}, []int{125, 126, 127, 65535, 65536},
			"binary 125, binary 126, binary 127, binary 65535, binary 65536"},
		{"fragments, and control frames between them", []byte{0x01, 0x89, 0x00, 0x8a, 0x80, 0x81}, []int{1, 2, 3, 4, 5, 6},
			"text 1 and more, ping 2, continuation 3 and more, pong 4, continuation 5, text 6"},
		{"compressed", []byte{0xc1, 0x41, 0x80}, []int{3, 1, 2}, "text 3 compressed, text 1 and more compressed, continuation 2"},
		{"close", []byte{0x88}, []int{2}, "close 2"},
		{"close without a reason", []byte{0x88}, []int{0}, "close 0"},
		{"a frame behind close", []byte{0x88, 0x81}, []int{0, 0}, "close 0, error"},
		{"close of one byte", []byte{0x88}, []int{1}, "error"},
		{"a large ping", []byte{0x89, 0x89}, []int{125, 126}, "ping 125, error"},
		{"a ping in parts", []byte{0x09}, []int{1}, "error"},
		{"a compressed ping", []byte{0xc9}, []int{1}, "error"},
		{"a compressed continuation", []byte{0x01, 0x40}, []int{1, 1}, "text 1 and more, error"},
		{"RSV2", []byte{0xa1}, []int{1}, "error"},
		{"RSV3", []byte{0x91}, []int{1}, "error"},
		{"an unknown opcode", []byte{0x83}, []int{1}, "error"},
		{"an unknown control opcode", []byte{0x8b}, []int{1}, "error"},
		{"a continuation of nothing", []byte{0x80}, []int{1}, "error"},
		{"a message within a message", []byte{0x01, 0x81}, []int{1, 1}, "text 1 and more, error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, server := range []bool{false, true} {
				var b strings.Builder
				for i, first := range c.first {
					b.WriteString(frame(first, x(c.length[i]), !server))
				}
				for _, n := range []int{1 << 20, 1, 3, 1448} {
					if got := frames(t, b.String(), server, n); got != c.want {
						t.Errorf("server %v, %d bytes at a time: %s, want %s", server, n, got, c.want)
					}
				}
			}
		})
	}
}

func TestWhatIsNoFrame(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		server      bool
		want        string
	}{
		{"a client without a mask", frame(0x81, "x", false), false, "error"},
		{"a server with a mask", frame(0x81, "x", true), true, "error"},
		{"a length of 16 bits that has no need of them", "\x82\x7e\x00\x7d", true, "error"},
		{"a length of 64 bits that has no need of them", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", true, "error"},
		{"a negative length", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", true, "error"},
		{"HTTP", "GET / HTTP/1.1\r\n", false, "error"},
		{"half a header", "\x82", true, "half"},
		{"half a length", "\x82\x7e\x01", true, "half"},
		{"half a key", "\x82\x81abc", false, "half"},
		{"half a payload", "\x82\x05abc", true, "half"},
		{"nothing", "", true, ""},
	} {
		for _, n := range []int{100, 1} {
			if got := frames(t, c.bytes, c.server, n); got != c.want {
				t.Errorf("%s, %d bytes at a time: %q, want %q", c.name, n, got, c.want)
			}
		}
	}
}

func TestSkip(t *testing.T) {
	f := websocket.Framer{Server: true}
	if f.Skip(1) || f.Remaining() != -1 {
		t.Error("bytes of a header were skipped")
	}
	f.Feed([]byte("\x82\x0aabc"))
	if f.Skip(8) || !f.Skip(0) || f.Remaining() != 7 {
		t.Errorf("more than the payload was skipped: %d remain", f.Remaining())
	}
	if !f.Skip(5) || f.Remaining() != 2 {
		t.Errorf("%d remain", f.Remaining())
	}
	if n, done, err := f.Feed([]byte("xy\x82\x01")); n != 2 || !done || err != nil {
		t.Error(n, done, err)
	}
	f.Feed([]byte("\x82\x02"))
	if !f.Skip(2) {
		t.Error("a whole payload was not skipped")
	}
	if n, done, err := f.Feed(nil); n != 0 || !done || err != nil {
		t.Error(n, done, err)
	}
	if f.Skip(1) {
		t.Error("bytes behind a frame were skipped")
	}
}

func TestPayload(t *testing.T) {
	raw := []byte(frame(0x81, "hello", true))
	h, p, err := websocket.Payload(raw)
	if err != nil || string(p) != "hello" || !h.Masked || h.Len != 6 || h.Opcode != websocket.Text {
		t.Errorf("%+v %q %v", h, p, err)
	}
	if !bytes.Equal(raw, []byte(frame(0x81, "hello", true))) {
		t.Error("the frame was changed")
	}
	for n := range raw {
		if _, _, err := websocket.Payload(raw[:n]); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	b := []byte("abcdefg")
	websocket.Mask(h.Key, 0, b[:3])
	websocket.Mask(h.Key, 3, b[3:])
	websocket.Mask(h.Key, 0, b)
	if string(b) != "abcdefg" {
		t.Errorf("masked in parts and unmasked whole: %q", b)
	}
}

func TestOpcodes(t *testing.T) {
	for o, want := range map[websocket.Opcode]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong", 3: "opcode(3)"} {
		if o.String() != want || o.Control() != (o >= 8) {
			t.Errorf("opcode %d: %v, control %v", uint8(o), o, o.Control())
		}
	}
}

// FuzzWebSocket frames any bytes, whole and in pieces.
func FuzzWebSocket(f *testing.F) {
	f.Add([]byte(frame(0x81, "xxx", true)+frame(0x01, "x", true)+frame(0x89, "", true)+frame(0x80, "x", true)+frame(0x88, "", true)), false, uint8(1))
	f.Add([]byte(frame(0xc2, strings.Repeat("x", 300), false)+"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00xx"), true, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, server bool, n uint8) {
		type ending struct{ at int }
		ends := func(n int) (e []ending, err error, begun bool) {
			fr := websocket.Framer{Server: server}
			at, left := 0, b
			for len(left) > 0 {
				p := left[:min(n, len(left))]
				m, done, err := fr.Feed(p)
				if err != nil {
					return e, err, false
				}
				if at += m; done {
					e = append(e, ending{at})
				} else if m != len(p) {
					t.Fatalf("%d of %d consumed, not done", m, len(p))
				}
				left = left[m:]
			}
			return e, nil, fr.Begun()
		}
		whole, err, begun := ends(len(b) + 1)
		pieces, err2, begun2 := ends(int(n%20) + 1)
		if fmt.Sprint(whole, err, begun) != fmt.Sprint(pieces, err2, begun2) {
			t.Fatalf("whole: %v %v %v\nin pieces: %v %v %v", whole, err, begun, pieces, err2, begun2)
		}
		from := 0
		for _, e := range whole {
			if _, _, err := websocket.Payload(b[from:e.at]); err != nil {
				t.Fatalf("frame at %d: %v", from, err)
			}
			from = e.at
		}
	})
}

func BenchmarkFeed(b *testing.B) {
	for _, n := range []int{20, 1400, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var f websocket.Framer
			p := []byte(frame(0x82, strings.Repeat("x", n), true))
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, done, err := f.Feed(p); !done || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPayload(b *testing.B) {
	p := []byte(frame(0x82, strings.Repeat("x", 1400), true))
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, _, err := websocket.Payload(p); err != nil {
			b.Fatal(err)
		}
	}
}
