package http2

import "encoding/binary"

// Preface is what a client sends before its first frame (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	headerLen       = 9       // of a frame (RFC 9113 §4.1)
	defaultMaxFrame = 1 << 14 // payload, until the receiver allows more (§6.5.2)
	maxMaxFrame     = 1<<24 - 1
)

// A frameType is the type of a frame (RFC 9113 §6).
type frameType uint8

const (
	frameData frameType = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindow
	frameContinuation
	numFrames
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// A frame is a frame's header.
type frame struct {
	length int // of the payload
	typ    frameType
	flags  uint8
	stream uint32
	odd    bool // the reserved bit is set
}

func parseFrame(b []byte) frame {
	id := binary.BigEndian.Uint32(b[5:])
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:    frameType(b[3]), flags: b[4], stream: id &^ (1 << 31), odd: id>>31 != 0,
	}
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// fixed is how many bytes of the payload come before what the frame carries:
// the pad length, the priority or the promised stream, or all that matters of
// the frames that are always short.
func (f *frame) fixed() (n int) {
	switch f.typ {
	case frameData, frameHeaders, framePush:
		if f.has(flagPadded) {
			n = 1
		}
		if f.typ == frameHeaders && f.has(flagPriority) {
			n += 5
		}
		if f.typ == framePush {
			n += 4
		}
	case frameGoAway:
		n = 4 // the last stream; an error code and text follow
	}
	return n
}

// A frameRule is what RFC 9113 §6 says of a type of frame.
type frameRule struct {
	min, max int   // length of the payload
	flags    uint8 // that are defined
	stream   streamRule
}

type streamRule uint8

const (
	aStream  streamRule = iota // on a stream
	noStream                   // on stream 0
	anywhere
)

// ruleOf returns the rule for a type that is known.
func ruleOf(t frameType) (r frameRule, ok bool) {
	const any = maxMaxFrame
	switch t {
	case frameData:
		r = frameRule{0, any, flagEndStream | flagPadded, aStream}
	case frameHeaders:
		r = frameRule{0, any, flagEndStream | flagEndHeaders | flagPadded | flagPriority, aStream}
	case framePriority:
		r = frameRule{5, 5, 0, aStream}
	case frameReset:
		r = frameRule{4, 4, 0, aStream}
	case frameSettings:
		r = frameRule{0, any, flagAck, noStream}
	case framePush:
		r = frameRule{4, any, flagEndHeaders | flagPadded, aStream}
	case framePing:
		r = frameRule{8, 8, flagAck, noStream}
	case frameGoAway:
		r = frameRule{8, any, 0, noStream}
	case frameWindow:
		r = frameRule{4, 4, 0, anywhere}
	case frameContinuation:
		r = frameRule{0, any, flagEndHeaders, aStream}
	default:
		return r, false
	}
	return r, true
}

// valid reports whether a frame may come from the client or from the server.
// What is not is an error for both ends; for a bystander it most likely means
// that it has lost its place. Types that are not known are let pass (RFC 9113 §5.5).
func (f *frame) valid(client bool) bool {
	r, ok := ruleOf(f.typ)
	if !ok {
		return true
	}
	switch {
	case f.length < r.min || f.length > r.max || f.length < f.fixed(),
		r.stream == aStream && f.stream == 0,
		r.stream == noStream && f.stream != 0:
		return false
	case f.typ == frameSettings:
		return f.length%6 == 0 && (!f.has(flagAck) || f.length == 0)
	case f.typ == framePush:
		return !client
	case f.typ == frameHeaders && client:
		return f.stream%2 == 1 // RFC 9113 §5.1.1
	}
	return true
}

// plausible reports whether b, 9 bytes at least, can be the header of a frame
// where that is a guess: it must be valid, of a known type, no larger than all
// receivers allow, and without bits that a sender leaves unset.
func plausible(b []byte, client bool) (f frame, ok bool) {
	if b[0] != 0 || b[3] >= byte(numFrames) || b[1] > defaultMaxFrame>>8 {
		return f, false
	}
	if b[3] <= byte(frameReset) && b[5]|b[6]|b[7]|b[8] == 0 {
		return f, false // not on a stream: as its rule says, but runs of zeros end here
	}
	f = parseFrame(b)
	r, _ := ruleOf(f.typ)
	return f, !f.odd && f.length <= defaultMaxFrame && f.flags&^r.flags == 0 && f.valid(client)
}

// padding is how many bytes of padding a frame ends with; b is the first bytes of
// its payload, fixed() at least.
func (f *frame) padding(b []byte) int {
	if f.has(flagPadded) && (f.typ == frameData || f.typ == frameHeaders || f.typ == framePush) {
		return int(b[0])
	}
	return 0
}

// promised is the stream that the first bytes of a payload promise, the pad
// length taken off.
func promised(b []byte) uint32 { return binary.BigEndian.Uint32(b[len(b)-4:]) &^ (1 << 31) }

// sound reports whether the first bytes of a payload, fixed() of them, make sense
// (RFC 9113 §6.1, §6.6).
func (f *frame) sound(b []byte) bool {
	if f.padding(b) > f.length-len(b) {
		return false
	}
	return f.typ != framePush || promised(b) != 0 && promised(b)%2 == 0
}

// follows reports whether a frame can come behind another one: header blocks
// are not interrupted (RFC 9113 §4.3).
func (f *frame) follows(before *frame) bool {
	open := before.opens() || before.typ == frameContinuation && !before.has(flagEndHeaders)
	if f.typ == frameContinuation {
		return open && f.stream == before.stream
	}
	return !open
}

// opens reports whether a header block begins in f and goes on behind it.
func (f *frame) opens() bool {
	return (f.typ == frameHeaders || f.typ == framePush) && !f.has(flagEndHeaders)
}

// carries reports whether the payload of f is a whole header block.
func (f *frame) carries(p []byte) bool {
	fixed := f.fixed()
	return f.sound(p[:fixed]) && sane(p[fixed:len(p)-f.padding(p)])
}

// LooksLikeFrames reports whether p, a segment in the middle of a connection,
// begins with frames: three in a row, or two, or a whole header block, that end
// exactly where it does. What is not HTTP/2 hardly ever does: it would have to
// have the right 24-bit lengths.
func LooksLikeFrames(p []byte, client bool) bool {
	var before frame
	for n := 0; ; n++ {
		if len(p) < headerLen {
			return false
		}
		f, ok := plausible(p, client)
		if !ok || n > 0 && !f.follows(&before) || n == 0 && f.typ == frameContinuation {
			return false
		}
		end := headerLen + f.length
		switch {
		case n >= chain-1:
			return true
		case end == len(p):
			return n > 0 || f.typ == frameHeaders && f.has(flagEndHeaders) && f.carries(p[headerLen:])
		case end > len(p):
			return false
		}
		before, p = f, p[end:]
	}
}
