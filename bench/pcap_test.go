//go:build linux

package bench

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// The flags of a TCP segment.
const (
	fin = 1
	syn = 2
	psh = 8
	ack = 16
)

// A traffic is the bytes of a pcap file (Ethernet, µs) that more makes bit by bit while
// they are read, so that it can have any length.
type traffic struct {
	buf, rest []byte
	packets   int
	more      func(*traffic) bool // appends packets; false: there are none any more
}

func newTraffic(more func(*traffic) bool) *traffic {
	t := &traffic{more: more}
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 262144, 1} {
		t.buf = binary.LittleEndian.AppendUint32(t.buf, v)
	}
	t.rest = t.buf
	return t
}

func (t *traffic) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		t.buf = t.buf[:0]
		if !t.more(t) {
			return 0, io.EOF
		}
		t.rest = t.buf
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// A client is one end of a connection to 10.255.0.1:80.
type client struct {
	addr     uint32
	port     uint16
	seq, ack uint32
}

// clientAt is a client that no other number has.
func clientAt(i int) *client {
	return &client{addr: 10<<24 | uint32(i/30_000), port: uint16(1024 + i%30_000), seq: 1000, ack: 5000}
}

const (
	serverAddr = 10<<24 | 255<<16 | 1
	headers    = 14 + 20 + 20 // Ethernet, IPv4 and TCP
	record     = 16           // pcap's header of a packet
	seqOffset  = record + 14 + 20 + 4
)

// packet appends a packet; time goes on by 10 µs.
func (t *traffic) packet(c *client, fromClient bool, flags byte, payload string) {
	const µs = 10
	at := 1_700_000_000_000_000 + uint64(t.packets)*µs
	t.packets++
	size := headers + len(payload)
	b := t.buf
	for _, v := range []uint32{uint32(at / 1e6), uint32(at % 1e6), uint32(size), uint32(size)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size-14))
	b = append(b, 0, 0, 0, 0, 64, 6, 0, 0)
	src, dst, sport, dport, seq, acked := c.addr, uint32(serverAddr), c.port, uint16(80), c.seq, c.ack
	if !fromClient {
		src, dst, sport, dport, seq, acked = dst, src, dport, sport, acked, seq
	}
	b = binary.BigEndian.AppendUint32(b, src)
	b = binary.BigEndian.AppendUint32(b, dst)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, acked)
	b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	t.buf = append(b, payload...)
	n := uint32(len(payload))
	if flags&(syn|fin) != 0 {
		n++
	}
	if fromClient {
		c.seq += n
	} else {
		c.ack += n
	}
}

func (t *traffic) dial(c *client) {
	t.packet(c, true, syn, "")
	t.packet(c, false, syn|ack, "")
	t.packet(c, true, ack, "")
}

// send appends what a client sends, in segments of 1448 bytes.
func (t *traffic) send(c *client, data string) {
	for len(data) > 1448 {
		t.packet(c, true, ack, data[:1448])
		data = data[1448:]
	}
	t.packet(c, true, ack|psh, data)
}

func smallGet(i int) string {
	return fmt.Sprintf("GET /index.html?id=%06d HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"+
		"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n", i)
}

func largePost(i int) string {
	return fmt.Sprintf("POST /upload?id=%06d HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n%s", i, 16<<10, strings.Repeat("x", 16<<10))
}

func answer() string {
	return "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + strings.Repeat("y", 300)
}
