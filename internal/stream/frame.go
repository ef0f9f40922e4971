package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// After the hello come, from the listener, batches and control frames; from
// the replayer control frames:
//
//	 0  4 bytes "KGMC"
//	 4  u8  type
//	 5  u8  code
//	 6  u16 length of the text
//	 8  u64 from the replayer: the last record acknowledged; from the listener 0
//	16  u32 CRC-32C of the 16 bytes before and of the text
//	20  …   text
const (
	frameMagic = "KGMC"
	frameHead  = 20
)

// A FrameType says what a control frame is for. Unknown ones are skipped.
type FrameType uint8

// The types of frame.
const (
	FrameBatch FrameType = 0 // not a control frame: the head of a batch
	FrameAlive FrameType = 1 // the sender lives; from the replayer it acknowledges
	FrameEnd   FrameType = 2 // the sender ends the stream: with Code and Text
)

// A Frame is what comes after the hello.
type Frame struct {
	Type FrameType
	// Batch is the head of a batch, whose body is to be read next.
	Batch Head
	// Acknowledged is the number up to which all records are settled.
	Acknowledged uint64
	// Code and Text say why the sender ends the stream.
	Code Code
	Text string
}

// Refusal returns why a FrameEnd ends the stream.
func (f *Frame) Refusal() *Refusal { return &Refusal{Code: f.Code, Text: f.Text} }

// AppendFrame appends the control frame f to b.
func AppendFrame(b []byte, f Frame) []byte {
	start := len(b)
	text := clip(f.Text)
	b = append(append(b, frameMagic...), byte(f.Type), byte(f.Code))
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	b = binary.BigEndian.AppendUint64(b, f.Acknowledged)
	sum := crc32.Checksum(b[start:], castagnoli)
	sum = crc32.Update(sum, castagnoli, []byte(text))
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, text...)
}

// ReadFrame reads the next frame: a control frame whole, of a batch the head.
// The error is io.EOF if the peer closed the connection between two frames. r
// must have a buffer of at least 32 bytes.
func ReadFrame(r *bufio.Reader, limits Limits) (Frame, error) {
	start, err := r.Peek(4)
	if err != nil {
		if len(start) > 0 {
			err = noEOF(err)
		}
		return Frame{}, err
	}
	switch string(start) {
	case frameMagic:
		return readControl(r)
	case batchMagic:
		raw, err := r.Peek(BatchHead)
		if err != nil {
			return Frame{}, noEOF(err)
		}
		h, err := parseHead(raw, limits.withDefaults())
		_, _ = r.Discard(BatchHead)
		return Frame{Type: FrameBatch, Batch: h}, err
	}
	return Frame{}, fmt.Errorf("% x is not the start of a frame", start)
}

func readControl(r *bufio.Reader) (Frame, error) {
	var h [frameHead]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, noEOF(err)
	}
	f := Frame{Type: FrameType(h[4]), Code: Code(h[5]), Acknowledged: binary.BigEndian.Uint64(h[8:])}
	n := int(binary.BigEndian.Uint16(h[6:]))
	if n > MaxText {
		return f, fmt.Errorf("text of %d bytes: %w, the limit is %d", n, ErrTooLarge, MaxText)
	}
	if f.Type == FrameBatch {
		return f, errors.New("control frame of type 0")
	}
	var text []byte
	if n > 0 {
		text = make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return f, noEOF(err)
		}
	}
	sum := crc32.Update(crc32.Checksum(h[:16], castagnoli), castagnoli, text)
	if sum != binary.BigEndian.Uint32(h[16:]) {
		return f, errors.New("frame with a wrong CRC-32C: bytes were changed on the way")
	}
	f.Text = plain(text, MaxText)
	return f, nil
}
