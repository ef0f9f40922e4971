package websocket_test

import (
	"fmt"

	"kagami/internal/websocket"
)

// Two frames of a client's arrive in three segments, cut anywhere.
func ExampleFramer() {
	segments := []string{"\x81\x85abcd\x09\x07", "\x0f\x08\x0e\x89", "\x80abcd"}
	var f websocket.Framer
	var frame []byte
	for _, s := range segments {
		for p := []byte(s); len(p) > 0; {
			n, done, err := f.Feed(p)
			if err != nil {
				fmt.Println(err)
				return
			}
			frame = append(frame, p[:n]...)
			if done {
				h, payload, _ := websocket.Payload(frame)
				fmt.Printf("%v %q, %d bytes on the wire\n", h.Opcode, payload, len(frame))
				frame = nil
			}
			p = p[n:]
		}
	}
	// Output:
	// text "hello", 11 bytes on the wire
	// ping "", 6 bytes on the wire
}
