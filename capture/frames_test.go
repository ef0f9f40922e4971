package capture

import (
	"encoding/binary"
	"slices"
)

// What follows builds packets from the inside out: each function puts a header
// before what it is given.

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func le16(v int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(v)) }
func le32(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
func zeros(n int) []byte {
	return make([]byte, n)
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// The segment that the packets of these tests hold: from 10.1.2.3:50000 to
// 10.4.5.6:80, or from fd00::1 to fd00::2.
const (
	frameSrcPort, frameDstPort = 50000, 80
	frameSeq, frameAck         = 0x12345678, 0x9abcdef0
	frameFlags                 = flagPSH | flagACK
)

var (
	frameSrc4, frameDst4 = []byte{10, 1, 2, 3}, []byte{10, 4, 5, 6}
	frameSrc6, frameDst6 = cat([]byte{0xfd}, zeros(14), []byte{1}), cat([]byte{0xfd}, zeros(14), []byte{2})
)

// tcpFrame is a TCP segment with 12 bytes of options.
func tcpFrame(payload string) []byte {
	return cat(be16(frameSrcPort), be16(frameDstPort), be32(frameSeq), be32(frameAck),
		[]byte{8 << 4, frameFlags}, zeros(6), zeros(12), []byte(payload))
}

func udpFrame(src, dst int, b []byte) []byte {
	return cat(be16(src), be16(dst), be16(8+len(b)), zeros(2), b)
}

// ip4Frame is an IPv4 packet; frag is its flags and fragment offset, in units of 8.
func ip4Frame(proto, frag int, options, b []byte) []byte {
	n := 20 + len(options)
	return cat([]byte{byte(0x40 | n/4), 0}, be16(n+len(b)), be16(77), be16(frag), []byte{64, byte(proto)}, zeros(2), frameSrc4, frameDst4, options, b)
}

func ip6Frame(next int, b []byte) []byte {
	return cat([]byte{0x60, 0, 0, 0}, be16(len(b)), []byte{byte(next), 64}, frameSrc6, frameDst6, b)
}

func etherFrame(kind int, b []byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, be16(kind), b)
}

func tagFrame(tag, kind int, b []byte) []byte { return cat(be16(tag), be16(kind), b) }

func sllFrame(pkttype, kind int, b []byte) []byte {
	return cat(be16(pkttype), be16(1), be16(6), zeros(8), be16(kind), b)
}

func sll2Frame(ifindex, pkttype, kind int, b []byte) []byte {
	return cat(be16(kind), zeros(2), be32(ifindex), be16(1), []byte{byte(pkttype), 6}, zeros(8), b)
}
