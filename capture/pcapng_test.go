package capture_test

import (
	"encoding/binary"
	"strings"
	"testing"
)

// block builds a block of a pcapng file.
func block(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	size := uint32(12 + len(body))
	b := order.AppendUint32(nil, kind)
	b = order.AppendUint32(b, size)
	b = append(b, body...)
	return order.AppendUint32(b, size)
}

func section(order binary.AppendByteOrder) []byte {
	b := order.AppendUint32(nil, 0x1a2b3c4d)
	b = order.AppendUint16(b, 1)
	b = order.AppendUint16(b, 0)
	return block(order, 0x0a0d0d0a, order.AppendUint64(b, 1<<64-1))
}

func option(order binary.AppendByteOrder, code uint16, value string) []byte {
	b := order.AppendUint16(nil, code)
	b = order.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// iface describes an interface.
func iface(order binary.AppendByteOrder, link uint16, snap uint32, options ...[]byte) []byte {
	b := order.AppendUint16(nil, link)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, snap)
	for _, o := range options {
		b = append(b, o...)
	}
	return block(order, 1, b)
}

// enhanced holds a packet.
func enhanced(order binary.AppendByteOrder, iface uint32, stamp uint64, length uint32, data string) []byte {
	b := order.AppendUint32(nil, iface)
	b = order.AppendUint32(b, uint32(stamp>>32))
	b = order.AppendUint32(b, uint32(stamp))
	b = order.AppendUint32(b, uint32(len(data)))
	b = order.AppendUint32(b, length)
	return block(order, 6, append(b, data...))
}

// obsolete holds a packet as the obsolete packet block does.
func obsolete(order binary.AppendByteOrder, iface uint16, stamp uint64, length uint32, data string) []byte {
	b := order.AppendUint16(nil, iface)
	b = order.AppendUint16(b, 9) // drops
	return block(order, 2, append(b, enhanced(order, 0, stamp, length, data)[12:28+len(data)]...))
}

func simple(order binary.AppendByteOrder, length uint32, data string) []byte {
	return block(order, 3, append(order.AppendUint32(nil, length), data...))
}

// pcapngFile builds a file with one interface, and a packet a second.
func pcapngFile(order binary.AppendByteOrder, packets ...string) []byte {
	b := append(section(order), iface(order, 1, 0)...)
	for i, p := range packets {
		b = append(b, enhanced(order, 0, uint64(i+1)*1e6, uint32(len(p)), p)...)
	}
	return b
}

func join(blocks ...[]byte) (b []byte) {
	for _, k := range blocks {
		b = append(b, k...)
	}
	return b
}

func TestPcapng(t *testing.T) {
	for name, o := range map[string]binary.AppendByteOrder{"little": little, "big": big} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name string
				file []byte
				want string
			}{
				{"a packet", pcapngFile(o, "abcde"), `1.000000000 "abcde" 5 link 1 interface 1;`},
				{"interfaces and their time",
					join(section(o),
						iface(o, 276, 0, option(o, 2, "eth0"), option(o, 9, "\x09"), option(o, 0, "")),
						iface(o, 113, 0, option(o, 9, "\x03")),
						iface(o, 101, 0, option(o, 9, "\x8a")),
						iface(o, 1, 0, option(o, 14, string(o.AppendUint64(nil, 1000)))),
						iface(o, 1, 0, option(o, 9, "\x0c")),
						iface(o, 1, 0, option(o, 9, "\x00")),
						iface(o, 1, 0, option(o, 9, "\xbf")),
						iface(o, 1, 0, option(o, 9, "\x13")),
						enhanced(o, 0, 1_000_000_007, 9, "a"),
						enhanced(o, 1, 2_005, 1, "b"),
						enhanced(o, 2, 3*1024+512, 1, "c"),
						enhanced(o, 3, 4_000_001, 1, "d"),
						enhanced(o, 4, 5_000_000_000_999, 1, "e"),
						enhanced(o, 5, 1<<31, 1, "f"),
						enhanced(o, 6, 1<<63|1<<62, 1, "g"),
						enhanced(o, 7, 12_345_678_901_000_000_000, 1, "h")),
					`1.000000007 "a" 9 link 276 interface 1; 2.005000000 "b" 1 link 113 interface 2; ` +
						`3.500000000 "c" 1 link 101 interface 3; 1004.000001000 "d" 1 link 1 interface 4; ` +
						`5.000000000 "e" 1 link 1 interface 5; 2147483648.000000000 "f" 1 link 1 interface 6; ` +
						`1.500000000 "g" 1 link 1 interface 7; 1.234567890 "h" 1 link 1 interface 8;`},
				{"offset before 1970", join(section(o), iface(o, 1, 0, option(o, 14, string(o.AppendUint64(nil, 1<<64-5)))), enhanced(o, 0, 1_500_000, 1, "a")),
					`-4.500000000 "a" 1 link 1 interface 1;`},
				{"blocks of every kind",
					join(section(o), block(o, 0x0bad, []byte("custom")), iface(o, 1, 4), block(o, 4, []byte("names")),
						enhanced(o, 0, 7e6, 1, "a"), simple(o, 3, "bcd"), simple(o, 9, "efgh"), obsolete(o, 0, 8e6, 1500, "xyz"), block(o, 5, []byte("statistics"))),
					`7.000000000 "a" 1 link 1 interface 1; 7.000000000 "bcd" 3 link 1 interface 1; ` +
						`7.000000000 "efgh" 9 link 1 interface 1; 8.000000000 "xyz" 1500 link 1 interface 1;`},
				{"large block of no interest", join(section(o), block(o, 10, make([]byte, 700_000)), iface(o, 1, 0), enhanced(o, 0, 0, 1, "a")),
					`0.000000000 "a" 1 link 1 interface 1;`},
				{"sections", join(pcapngFile(o, "a"), pcapngFile(little, "b"), pcapngFile(big, "c")),
					`1.000000000 "a" 1 link 1 interface 1; 1.000000000 "b" 1 link 1 interface 2; 1.000000000 "c" 1 link 1 interface 3;`},
				{"gzip", compress(pcapngFile(o, "abc")), `1.000000000 "abc" 3 link 1 interface 1;`},
			} {
				t.Run(c.name, func(t *testing.T) { checkFile(t, c.file, c.want) })
			}
		})
	}
}

func TestPcapngDamaged(t *testing.T) {
	o := little
	ends := pcapngFile(o, "abc")
	ends[len(ends)-1] ^= 1
	order := section(o)
	order[8] = 0
	version := section(o)
	version[12] = 2
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"block of 8 bytes", join(section(o), []byte("\x06\x00\x00\x00\x08\x00\x00\x00")), "damaged at byte 28: a block of 8 bytes"},
		{"block of an odd size", join(section(o), []byte("\x06\x00\x00\x00\x0d\x00\x00\x00")), "a block of 13 bytes"},
		{"block of 4 GiB", join(section(o), []byte("\x06\x00\x00\x00\xf0\xff\xff\xff")), "a record of 4294967280 bytes"},
		{"block that ends otherwise", ends, "that ends as one of"},
		{"no such interface", join(section(o), iface(o, 1, 0), enhanced(o, 1, 0, 1, "a")), "a packet of interface 1"},
		{"simple without interface", join(section(o), simple(o, 1, "a")), "a packet of interface 0"},
		{"packet longer than the block", join(section(o), iface(o, 1, 0), block(o, 6, append(make([]byte, 12), "\xff\x00\x00\x00\xff\x00\x00\x00"...))), "shorter than the packet"},
		{"block without room for a packet", join(section(o), iface(o, 1, 0), block(o, 6, make([]byte, 16))), "shorter than the packet"},
		{"short description", join(section(o), block(o, 1, make([]byte, 4))), "description of 4 bytes"},
		{"time resolution", join(section(o), iface(o, 1, 0, option(o, 9, "\x14"))), "time resolution is 0x14"},
		{"time resolution in powers of two", join(section(o), iface(o, 1, 0, option(o, 9, "\xc0"))), "time resolution is 0xc0"},
		{"byte order", order, "byte order is marked"},
		{"version", version, "version 2"},
		{"cut in a block of no interest", join(section(o), block(o, 10, make([]byte, 700_000))[:600_000]), "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) { checkDamage(t, c.file, c.want) })
	}
	if b := join(section(o), []byte(strings.Repeat(string(iface(o, 1, 0)), 1<<16+1))); true {
		checkDamage(t, b, "more than 65536 interfaces")
	}
}
