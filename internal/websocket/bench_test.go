package websocket_test

import (
	"strings"
	"testing"

	"kagami/internal/websocket"
)

// What each request of a replay pays for the few that ask for a WebSocket.
func BenchmarkAsks(b *testing.B) {
	raw := []byte("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: a browser\r\nAccept: */*\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\nCookie: " +
		strings.Repeat("x", 300) + "\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if websocket.Asks(raw) {
			b.Fatal("no")
		}
	}
}
