package gor

import (
	"bytes"
	"io"

	"kagami"
	"kagami/internal/http1"
)

// DefaultMaxRecord is the largest record a Reader accepts unless told otherwise.
const DefaultMaxRecord = 64 << 20

// usualBuffer is the size of the buffer between large records.
const usualBuffer = 256 << 10

// A Reader reads records. It accepts headers of three fields and more, and ids
// of any kind: see the package comment.
//
// A record ends where its HTTP message does, if a separator follows there, so
// that a body may contain the separator. Where the payload is not HTTP, or is
// more or less than the message's own framing says, it ends at the first
// separator that a record's header or the end of the file follows. The last
// record needs no separator if its message is whole.
//
// A message has the two ports and the client's IPv4 address if its id holds
// them (GoReplay's and Kagami's do); its Hop is 1; its End is its Start where
// the latency is not known. Flags holds Incomplete where there is less than its
// framing says, and Ambiguous where there is more or the framing itself is; its
// Proto is Binary where it is not HTTP. Records of unknown kinds are passed
// over and counted.
//
// A record that is exactly one WebSocket frame (RFC 6455 §5.2), and has the id of a request
// for a WebSocket, is a message of that Proto.
//
// Memory is bounded by MaxRecord, and two tables of at most 65 536 ids: those of
// HEAD and CONNECT requests, whose answers are framed differently, and of requests for WebSockets.
type Reader struct {
	// MaxRecord bounds one record, in bytes; 0 means DefaultMaxRecord. A larger
	// one is passed over, as damage.
	MaxRecord int

	src    io.Reader
	srcErr error  // what src returned at its end
	buf    []byte // buf[pos:end] is read and not yet used; pos is the current record
	pos    int
	end    int
	base   int64 // offset of buf[0] in the file

	framer  http1.Framer
	bare    remembered // HEAD and CONNECT, which the framing of an answer depends on (RFC 9112 §6.3)
	sockets remembered // requests for WebSockets, which frames follow
	unknown int
	damage  *DamageError
	noted   bool  // damage includes srcErr
	last    error // returned by Next from now on
}

// NewReader returns a Reader of r. It reads ahead, and does not close r.
func NewReader(r io.Reader) *Reader { return &Reader{src: r} }

// Offset is how many bytes the records returned or passed over so far take up.
func (r *Reader) Offset() int64 { return r.base + int64(r.pos) }

// Unknown is how many records of unknown kinds were passed over so far.
func (r *Reader) Unknown() int { return r.unknown }

// Next returns the next message, whose bytes are its own. At the end it returns
// io.EOF if all was read, a *DamageError if something was passed over or the
// end is missing, a *FormatError if there is nothing of a recording in it. After
// an error it returns the same again.
func (r *Reader) Next() (*kagami.Message, error) {
	for r.last == nil {
		if r.atEnd(0) {
			r.last = r.verdict()
			break
		}
		if m := r.record(); m != nil {
			return m, nil
		}
	}
	return nil, r.last
}

// atEnd reports whether nothing comes at bytes behind pos but, perhaps, a few
// line ends.
func (r *Reader) atEnd(at int) bool {
	for n := 0; r.have(at + n + 1); n++ {
		if c := r.window()[at+n]; c != '\n' && c != '\r' || n >= maxHeader {
			return false
		}
	}
	return true
}

// verdict is what Next returns at the end.
func (r *Reader) verdict() error {
	if r.srcErr != io.EOF && !r.noted {
		r.broken(r.srcErr)
	}
	if r.damage != nil {
		return r.damage
	}
	return io.EOF
}

// broken notes that the record at pos can't be read.
func (r *Reader) broken(err error) {
	if r.damage == nil {
		r.damage = &DamageError{Offset: r.Offset(), Err: err}
	}
	r.damage.Records++
}

// record reads the record at pos and moves behind it. It returns nil where that
// is not a message.
func (r *Reader) record() *kagami.Message {
	line, ends := r.line(0)
	h, ok := parseHeader(line)
	if !ends || !ok {
		r.notHeader()
		return nil
	}
	from := len(line) + 1
	known := h.kind >= kagami.Request && h.kind <= kagami.Replayed
	var n int
	fits := unfit
	if known {
		n, fits = r.framed(from, h)
	}
	if fits != whole && fits != frame {
		var err error
		if n, err = r.scan(from, fits); err != nil {
			r.unreadable(err)
			return nil
		}
	}
	var m *kagami.Message
	if known {
		m = r.message(h, r.window()[from:from+n], fits)
	} else {
		r.unknown++
	}
	r.skip(min(from+n+len(Separator), r.end-r.pos))
	return m
}

// notHeader deals with bytes that are no header where one should be.
func (r *Reader) notHeader() {
	err, looksRight := error(ErrHeader), false
	if line, ends := r.line(0); !ends && r.srcErr != nil {
		err = r.cut()
		looksRight = len(line) > 1 && mayBeHeader(line)
	}
	if r.Offset() == 0 && !looksRight && !r.resumes() {
		r.have(16)
		r.last = &FormatError{Found: Identify(r.window())}
		return
	}
	r.unreadable(err)
}

// resumes reports whether in a file that begins with something else there is a
// record in the first megabyte.
func (r *Reader) resumes() bool {
	const limit = 1 << 20
	for at := 0; at < limit; {
		w := r.window()
		if i := bytes.Index(w[at:], []byte(Separator)); i >= 0 {
			at += i + len(Separator)
			line, ends := r.line(at)
			if _, ok := parseHeader(line); ends && ok {
				return true
			}
			continue
		}
		at = max(at, len(w)-len(Separator)+1)
		if !r.fill() {
			return false
		}
	}
	return false
}

// unreadable notes that the record at pos can't be read, and moves to the next
// that can, or to the end.
func (r *Reader) unreadable(err error) {
	r.broken(err)
	for {
		w := r.window()
		i := bytes.Index(w, []byte(Separator))
		if i < 0 {
			r.skip(max(0, len(w)-len(Separator)+1))
			if r.fill() {
				continue
			}
			break
		}
		r.skip(i)
		if r.recordAt(len(Separator)) {
			r.skip(len(Separator))
			return
		}
		r.skip(1)
	}
	r.noted = true
	r.skip(r.end - r.pos)
}

// cut is the error of a record that the end of the input cuts short.
func (r *Reader) cut() error {
	if r.srcErr == nil || r.srcErr == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return r.srcErr
}

func (r *Reader) maxRecord() int {
	if r.MaxRecord > 0 {
		return r.MaxRecord
	}
	return DefaultMaxRecord
}
