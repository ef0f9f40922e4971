package websocket_test

import (
	"strings"
	"testing"

	"kagami/internal/websocket"
)

func lines(l ...string) []byte { return []byte(strings.Join(l, "\r\n") + "\r\n\r\n") }

func TestAsks(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		want bool
	}{
		{"a browser", lines("GET / HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket"), true},
		{"one of several, in capitals", lines("GET / HTTP/1.1", "Host: a", "connection: UPGRADE", "UPGRADE: h2c, WebSocket"), true},
		{"another protocol", lines("GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: h2c"), false},
		{"none", lines("GET / HTTP/1.1", "Host: a"), false},
		{"Connection does not say so", lines("GET / HTTP/1.1", "Host: a", "Upgrade: websocket"), false},
		{"HTTP/1.0", lines("GET / HTTP/1.0", "Host: a", "Connection: upgrade", "Upgrade: websocket"), false},
		{"another method", lines("POST / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: websocket"), false},
		{"an answer", lines("HTTP/1.1 101 x", "Connection: upgrade", "Upgrade: websocket"), false},
		{"a frame", []byte("\x81\x80abcd"), false},
		{"nothing", nil, false},
	} {
		if got := websocket.Asks(c.raw); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestVerify(t *testing.T) {
	// The example of RFC 6455 §1.3.
	request := lines("GET /chat HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: x-a; p=1", "sec-websocket-extensions: permessage-deflate; client_max_window_bits")
	const upgrade, connection, accept = "Upgrade: WebSocket", "Connection: upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	for _, c := range []struct {
		name   string
		answer []byte
		want   websocket.Agreement
		err    string // a part of it
	}{
		{"yes", lines("HTTP/1.1 101 x", upgrade, connection, accept), websocket.Agreement{}, ""},
		{"yes, with a subprotocol", lines("HTTP/1.1 101 x", upgrade, connection, accept, "Sec-WebSocket-Protocol: superchat"), websocket.Agreement{Protocol: "superchat"}, ""},
		{"yes, compressed", lines("HTTP/1.1 101 x", upgrade, connection, accept, "Sec-WebSocket-Extensions: Permessage-Deflate; client_no_context_takeover"), websocket.Agreement{Deflate: true}, ""},
		{"yes, with both extensions", lines("HTTP/1.1 101 x", upgrade, connection, accept, "Sec-WebSocket-Extensions: x-a, permessage-deflate"), websocket.Agreement{Deflate: true}, ""},
		{"another status", lines("HTTP/1.1 200 x", upgrade, connection, accept), websocket.Agreement{}, "status 200"},
		{"another key", lines("HTTP/1.1 101 x", upgrade, connection, "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="), websocket.Agreement{}, "of the key"},
		{"no key", lines("HTTP/1.1 101 x", upgrade, connection), websocket.Agreement{}, "of the key"},
		{"another protocol", lines("HTTP/1.1 101 x", "Upgrade: h2c", connection, accept), websocket.Agreement{}, "not for a WebSocket"},
		{"no Connection", lines("HTTP/1.1 101 x", upgrade, accept), websocket.Agreement{}, "not for a WebSocket"},
		{"an extension that was not asked for", lines("HTTP/1.1 101 x", upgrade, connection, accept, "Sec-WebSocket-Extensions: x-b"), websocket.Agreement{}, "x-b"},
		{"a subprotocol that was not asked for", lines("HTTP/1.1 101 x", upgrade, connection, accept, "Sec-WebSocket-Protocol: Chat2"), websocket.Agreement{}, "Chat2"},
		{"cut short", []byte("HTTP/1.1 101"), websocket.Agreement{}, "EOF"},
	} {
		got, err := websocket.Verify(request, c.answer)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// What Append writes, ParseHeader reads.
func TestHeaderAppend(t *testing.T) {
	for _, n := range []int64{0, 1, 125, 126, 65535, 65536, 1 << 40} {
		for _, masked := range []bool{true, false} {
			h := websocket.Header{Fin: n%2 == 0, RSV1: true, Opcode: websocket.Binary, Masked: masked, Length: n}
			if masked {
				h.Key = [4]byte{1, 2, 3, 4}
			}
			b := h.Append([]byte("x"))
			h.Len = len(b) - 1
			if got, err := websocket.ParseHeader(b[1:]); err != nil || got != h || b[0] != 'x' {
				t.Errorf("%+v is read as %+v, %v", h, got, err)
			}
		}
	}
	frame := append(websocket.Header{Fin: true, Opcode: websocket.Text, Length: 2}.Append(nil), "hi"...)
	if !websocket.Whole(frame, false) || websocket.Whole(frame, true) || websocket.Whole(frame[:3], false) || websocket.Whole(append(frame, 0), false) {
		t.Error("Whole")
	}
}
