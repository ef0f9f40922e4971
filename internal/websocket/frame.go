package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFrame means that bytes are no frame of the direction they were sent in, or
// none that can come where they did (RFC 6455 §5.2, §5.4, §5.5). The place in
// the stream is lost.
var ErrFrame = errors.New("not a WebSocket frame")

// An Opcode says what a frame is (RFC 6455 §5.2).
type Opcode uint8

// The opcodes. Those from Close on are of control frames.
const (
	Continuation Opcode = 0 // more of the message that a Text or Binary frame began
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// Control reports whether o is of a control frame: it may come between the
// fragments of a message.
func (o Opcode) Control() bool { return o >= Close }

// String returns the opcode's name in lower case.
func (o Opcode) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return fmt.Sprintf("opcode(%d)", uint8(o))
}

// MaxHeader is the longest header of a frame, in bytes.
const MaxHeader = 14

const (
	maxControl = 125 // bytes of a control frame's payload (RFC 6455 §5.5)
	length16   = 126 // says that the length has two bytes of its own
	length64   = 127 // or eight
)

// A Header is what comes before a frame's payload.
type Header struct {
	Fin    bool // the frame is the last of its message
	RSV1   bool // the message is compressed (RFC 7692 §6)
	Masked bool
	Opcode Opcode
	Key    [4]byte // the masking key, if Masked
	Len    int     // of the header, in bytes: 2 to MaxHeader
	Length int64   // of the payload
}

// ParseHeader parses the header at the start of b; what follows it does not
// matter. The error is ErrFrame, or io.ErrUnexpectedEOF if b is the beginning of
// a header whose end is missing.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) > 0 {
		h.Fin, h.RSV1, h.Opcode = b[0]&0x80 != 0, b[0]&0x40 != 0, Opcode(b[0]&0x0f)
		if b[0]&0x30 != 0 || !h.valid() {
			return Header{}, ErrFrame
		}
	}
	if len(b) < 2 {
		return Header{}, io.ErrUnexpectedEOF
	}
	h.Masked, h.Len, h.Length = b[1]&0x80 != 0, 2, int64(b[1]&0x7f)
	if h.Opcode.Control() && (h.Length > maxControl || h.Opcode == Close && h.Length == 1) {
		return Header{}, ErrFrame
	}
	if err := h.parseLength(b[2:]); err != nil {
		return Header{}, err
	}
	if h.Masked {
		if len(b) < h.Len+4 {
			return Header{}, io.ErrUnexpectedEOF
		}
		h.Len += copy(h.Key[:], b[h.Len:])
	}
	return h, nil
}

// valid checks what the first byte says.
func (h *Header) valid() bool {
	switch h.Opcode {
	case Text, Binary:
		return true
	case Continuation:
		return !h.RSV1
	case Close, Ping, Pong:
		return h.Fin && !h.RSV1
	}
	return false
}

// parseLength reads the bytes that a long length has. It has no more of them than
// needed.
func (h *Header) parseLength(b []byte) error {
	switch {
	case h.Length < length16:
	case h.Length == length16 && len(b) >= 2:
		h.Len, h.Length = 4, int64(binary.BigEndian.Uint16(b))
		if h.Length < length16 {
			return ErrFrame
		}
	case h.Length == length64 && len(b) >= 8:
		n := binary.BigEndian.Uint64(b)
		if n > 1<<63-1 || n < 1<<16 {
			return ErrFrame
		}
		h.Len, h.Length = 10, int64(n)
	default:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Append appends the header to dst, with the shortest length that says Length; Len
// does not count.
func (h Header) Append(dst []byte) []byte {
	first, mask := byte(h.Opcode), byte(0)
	if h.Fin {
		first |= 0x80
	}
	if h.RSV1 {
		first |= 0x40
	}
	if h.Masked {
		mask = 0x80
	}
	switch {
	case h.Length < length16:
		dst = append(dst, first, mask|byte(h.Length))
	case h.Length < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, mask|length16), uint16(h.Length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, mask|length64), uint64(h.Length))
	}
	if h.Masked {
		dst = append(dst, h.Key[:]...)
	}
	return dst
}

// Payload returns the header of a whole frame and a copy of its payload,
// unmasked. The error is ErrFrame, or io.ErrUnexpectedEOF if its end is missing.
func Payload(frame []byte) (Header, []byte, error) {
	h, err := ParseHeader(frame)
	if err != nil {
		return h, nil, err
	}
	if int64(len(frame)-h.Len) < h.Length {
		return h, nil, io.ErrUnexpectedEOF
	}
	p := append([]byte(nil), frame[h.Len:h.Len+int(h.Length)]...)
	if h.Masked {
		Mask(h.Key, 0, p)
	}
	return h, p, nil
}

// Whole reports whether frame is exactly one frame, masked as a client's are or not.
func Whole(frame []byte, masked bool) bool {
	h, err := ParseHeader(frame)
	return err == nil && h.Masked == masked && int64(len(frame)-h.Len) == h.Length
}

// Mask masks or unmasks in place b, which begins offset bytes into a payload.
func Mask(key [4]byte, offset int64, b []byte) {
	for i := range b {
		b[i] ^= key[(offset+int64(i))&3]
	}
}
