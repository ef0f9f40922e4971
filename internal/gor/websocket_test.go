package gor_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"kagami"
	"kagami/internal/gor"
	"kagami/internal/websocket"
)

// wsFrame makes a frame.
func wsFrame(first byte, payload string, masked bool) []byte {
	h := websocket.Header{Fin: first&0x80 != 0, Opcode: websocket.Opcode(first & 15), Masked: masked, Length: int64(len(payload))}
	b := append(h.Append(nil), payload...)
	return b // the key is 0: the payload is as it was
}

// The frames of a WebSocket come back as that, whatever is in them; the same bytes
// elsewhere do not.
func TestReaderWebSocket(t *testing.T) {
	const ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	const accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	record := func(kind string, id string, raw []byte) string {
		return kind + " " + id + " 1700000000123456789 0\n" + string(raw) + sep
	}
	large := strings.Repeat("0123456789", 50_000)
	holds := "a" + sep + "1 ff 1 1\n" + get + sep + "z" // would be a record of its own
	var all strings.Builder
	for _, r := range []string{
		record("1", "aa", []byte(ask)), record("2", "aa", []byte(accept)),
		record("1", "aa", wsFrame(0x81, "hello", true)), record("2", "aa", wsFrame(0x82, large, false)), record("3", "aa", wsFrame(0x81, "staging's", false)),
		record("1", "aa", wsFrame(0x81, holds, true)), record("1", "aa", wsFrame(0x88, "", true)),
		record("1", "bb", wsFrame(0x81, "of none", true)),                                                          // no request for it
		record("1", "aa", wsFrame(0x81, "no mask", false)), record("1", "aa", append(wsFrame(0x81, "1", true), 1)), // not exactly one
		record("1", "aa", []byte(get)), record("1", "aa", wsFrame(0x81, "of none", true)), // the id came round again
	} {
		all.WriteString(r)
	}
	for name, src := range map[string]io.Reader{"whole": strings.NewReader(all.String()), "byte by byte": iotest.OneByteReader(strings.NewReader(all.String()))} {
		messages, err := readAll(src)
		if err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
		want := []struct {
			proto kagami.Proto
			raw   []byte
		}{
			{kagami.HTTP1, []byte(ask)}, {kagami.HTTP1, []byte(accept)}, {kagami.WebSocket, wsFrame(0x81, "hello", true)}, {kagami.WebSocket, wsFrame(0x82, large, false)},
			{kagami.WebSocket, wsFrame(0x81, "staging's", false)}, {kagami.WebSocket, wsFrame(0x81, holds, true)}, {kagami.WebSocket, wsFrame(0x88, "", true)},
			{kagami.Binary, wsFrame(0x81, "of none", true)}, {kagami.Binary, wsFrame(0x81, "no mask", false)}, {kagami.Binary, append(wsFrame(0x81, "1", true), 1)},
			{kagami.HTTP1, []byte(get)}, {kagami.Binary, wsFrame(0x81, "of none", true)},
		}
		if len(messages) != len(want) {
			t.Fatalf("%s: %d messages, want %d", name, len(messages), len(want))
		}
		for i, m := range messages {
			if m.Proto != want[i].proto || !bytes.Equal(m.Raw, want[i].raw) || m.Proto == kagami.WebSocket && (m.Exchange.Method != "GET" || m.Flags != 0) {
				t.Errorf("%s: message %d is %v, %v, %q: %.60q", name, i, m.Proto, m.Flags, m.Exchange.Method, m.Raw)
			}
		}
	}
	// What is written comes back.
	m := &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Raw: []byte(ask), Exchange: &kagami.Exchange{ID: mustID(t), Method: "GET"}}
	frame := *m
	frame.Proto, frame.Raw = kagami.WebSocket, wsFrame(0x81, "hello", true)
	back, err := readAll(bytes.NewReader(gor.Append(gor.Append(nil, m), &frame)))
	if err != io.EOF || len(back) != 2 || back[1].Proto != kagami.WebSocket || back[1].Exchange.ID != m.Exchange.ID || !bytes.Equal(back[1].Raw, frame.Raw) {
		t.Errorf("%v, %d messages", err, len(back))
	}
}

func mustID(t *testing.T) kagami.ID {
	t.Helper()
	id, err := kagami.IDFromBytes([]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return id
}
