package output

import (
	"io"
	"time"

	"kagami"
	"kagami/internal/websocket"
)

// A wsReader reads the target's frames. It holds at most keep bytes of one, or a
// control frame.
type wsReader struct {
	framer websocket.Framer
	first  []byte // what was read with the answer
	keep   int    // how much of a frame is kept

	raw   []byte // of the frame that has begun
	size  int
	start time.Time
	over  bool // a Close has come, and nothing that follows matters
	bad   bool // the connection broke, or what came is no WebSocket's
}

// maxControlFrame is how long a control frame without a mask can be, in bytes (RFC 6455 §5.5).
const maxControlFrame = 2 + 125

// read is the goroutine that reads what the target sends, to the end of the
// connection.
func (s *wsSession) read() {
	defer close(s.gone)
	r := &s.reads
	in := make([]byte, wsReadSize)
	for p := r.first; ; {
		if !s.take(p) {
			return
		}
		n, err := s.nc.Read(in)
		if p = in[:n]; n == 0 && err != nil {
			r.bad = r.bad || !r.over && (err != io.EOF || r.framer.Begun())
			return
		}
	}
}

// take takes bytes that were read. It returns false if they are no WebSocket's.
func (s *wsSession) take(p []byte) bool {
	r := &s.reads
	for len(p) > 0 && !r.over {
		if r.size == 0 {
			r.start = time.Now()
		}
		n, done, err := r.framer.Feed(p)
		if err != nil {
			r.bad = true
			_ = s.control(websocket.Close, websocket.ProtocolError.Append(nil)) // it fails all the same (RFC 6455 §7.1.7)
			return false
		}
		r.size += n
		r.raw = append(r.raw, p[:min(n, max(0, max(r.keep, maxControlFrame)-len(r.raw)))]...)
		p = p[n:]
		if done {
			s.received()
		}
	}
	return true
}

// received deals with a frame that is whole.
func (s *wsSession) received() {
	r := &s.reads
	h := *r.framer.Header()
	s.t.counters.received.Add(1)
	var payload []byte
	if h.Opcode.Control() {
		payload = append(payload, r.raw[h.Len:]...)
	}
	s.handOn(&kagami.Message{Proto: kagami.WebSocket, Start: r.start, End: time.Now(), Raw: r.raw, WireLen: r.size})
	if r.size = 0; r.keep > 0 {
		r.raw = nil // it was handed on
	}
	r.raw = r.raw[:0]
	switch h.Opcode {
	case websocket.Ping:
		_ = s.control(websocket.Pong, payload) // if it fails, so does the next frame
	case websocket.Close:
		s.echo, r.over = payload, true
		close(s.closed)
	}
}

// end is what the end of the connection means. The reader has ended.
func (r *wsReader) end() WSEnd {
	if r.bad {
		return WSError
	}
	return WSTarget
}
