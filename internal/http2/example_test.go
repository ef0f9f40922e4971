package http2_test

import (
	"fmt"

	"kagami/internal/http2"
)

// A printer is a Handler that prints what it is told of.
type printer struct{}

func (printer) Begin(*http2.Message) {}

func (printer) End(m *http2.Message) {
	if m.Err != nil {
		fmt.Println("stream", m.Stream, "lost:", m.Err)
		return
	}
	fmt.Printf("%q\n", m.Raw)
}

// What a client and a server sent each other, as it was captured.
func ExampleConn() {
	conn := http2.New(http2.Config{Responses: true}, printer{})
	captured := []struct {
		client bool
		bytes  string
	}{
		{true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{false, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{true, "\x00\x00\x0b\x01\x05\x00\x00\x00\x01" + "\x82\x86\x84\x41\x06shop.a"},
		{false, "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88" + "\x00\x00\x05\x00\x01\x00\x00\x00\x01hel"},
		{false, "lo"},
	}
	for _, c := range captured {
		if err := conn.Feed(c.client, []byte(c.bytes), http2.Mark{}); err != nil {
			fmt.Println(err)
		}
	}
	conn.Close()
	// Output:
	// "GET / HTTP/1.1\r\nHost: shop.a\r\n\r\n"
	// "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello"
}
