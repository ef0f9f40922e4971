package capture_test

import (
	"bytes"
	"fmt"
	"io"

	"kagami/capture"
)

// A capture file, read packet by packet.
func ExampleNewFile() {
	traffic := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00" +
		"\x00\xca\x9a\x3b\x40\x42\x0f\x00\x04\x00\x00\x00\xea\x05\x00\x00\x02\x00\x00\x00" // one packet, cut to 4 bytes
	f, err := capture.NewFile(bytes.NewReader([]byte(traffic)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		p, err := f.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d of %d bytes, link type %d\n", len(p.Data), p.WireLen, p.Link)
	}
	// Output: 4 of 1514 bytes, link type 1
}

// The filter for requests to two servers' ports.
func ExampleFilterExpression() {
	filter := capture.FilterExpression(capture.FilterConfig{Ports: []uint16{80, 8080}})
	fmt.Println(filter[:46] + "…")
	// Output: (ip and (tcp[2:2] = 80 or tcp[2:2] = 8080) and…
}
