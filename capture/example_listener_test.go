package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"kagami"
	"kagami/capture"
)

// onePost is a pcap file (https://www.tcpdump.org/manpages/pcap-savefile.5.html)
// with a request in two packets, which is as little as a capture can hold: no
// handshake, no answer.
func onePost() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // the magic number: times in µs
	b = binary.LittleEndian.AppendUint16(b, 2)             // version 2.4
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 262144) // snapshot length
	b = binary.LittleEndian.AppendUint32(b, 101)    // LINKTYPE_RAW: packets begin with an IP header
	seq := uint32(1)
	for i, payload := range []string{"POST /order HTTP/1.1\r\nContent-Length: 11\r\n\r\n", "two noodles"} {
		size := uint32(40 + len(payload))
		b = binary.LittleEndian.AppendUint32(b, 1_700_000_000+uint32(i))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, size)
		b = binary.LittleEndian.AppendUint32(b, size)
		b = append(b, 0x45, 0, byte(size>>8), byte(size), 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 80)
		b = binary.BigEndian.AppendUint16(b, 40000) // from port
		b = binary.BigEndian.AppendUint16(b, 8080)  // to port
		b = binary.BigEndian.AppendUint32(b, seq)
		b = append(b, 0, 0, 0, 9, 5<<4, 0x18, 0xff, 0xff, 0, 0, 0, 0)
		b = append(b, payload...)
		seq += uint32(len(payload))
	}
	return b
}

// Read the requests from a capture file.
func ExampleListener() {
	file, err := capture.NewFile(bytes.NewReader(onePost()))
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := capture.New(capture.Config{Ports: []uint16{8080}, Wait: true}, file)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = listener.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			line, _, _ := strings.Cut(string(m.Raw), "\r\n")
			fmt.Printf("%s %v → %v %s (%d bytes, %v)\n", m.Exchange.ID, m.Client, m.Server, line, len(m.Raw), m.End.Sub(m.Start))
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	for _, stage := range listener.Stages() {
		in, out := stage.Count()
		fmt.Printf("%s: %d in, %d out\n", stage.Unit, in, out)
	}
	// Output:
	// 9c401f90c000020100000009000000006553f100 192.0.2.1:40000 → 192.0.2.80:8080 POST /order HTTP/1.1 (55 bytes, 1s)
	// packets: 2 in, 2 out
	// connections: 1 in, 1 out
	// messages: 1 in, 1 out
}
