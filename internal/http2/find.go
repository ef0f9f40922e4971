package http2

import "unsafe"

const (
	// chain is how many headers have to fit one another for the first to be
	// taken for one.
	chain = 3
	// maxCandidates bounds the places that are tried at a time.
	maxCandidates = 32
	// maxPiece is how many bytes are looked at in one go. What is kept stays within
	// 64 KiB: a chain is at most two frames and a header long. And what is behind
	// a chain, which may be no frame, is gone through again at most once a piece.
	maxPiece = 1 << 10
	// maxMarks bounds the segments that are told apart; in a stream of tiny ones,
	// the last of these gives its time to what follows.
	maxMarks = 64
)

// A finder looks for the beginning of a frame in bytes of which nothing is known.
type finder struct {
	buf   []byte
	marks []placedMark // where in buf the bytes of each segment begin
	tries []candidate  // places that may be it, in order
	next  int          // the first place where one of them says that a frame begins; -1: none
	at    int          // buf[:at] was looked at
}

type placedMark struct {
	at   int
	mark Mark
}

// A candidate is a place in the buffer where a chain of headers begins.
type candidate struct {
	start, next int
	n           int
	last        frame
}

// feed looks at p, of maxPiece bytes at most. It returns where in buf a frame
// begins, or -1.
func (s *finder) feed(p []byte, at Mark, client bool) int {
	s.discard()
	if n := len(s.marks); n == 0 || n < maxMarks && s.marks[n-1].mark != at {
		s.marks = append(s.marks, placedMark{len(s.buf), at})
	}
	s.buf = append(s.buf, p...)
	for ; s.at+headerLen <= len(s.buf); s.at++ {
		if b := s.buf[s.at:]; b[0] != 0 && s.at != s.next {
			continue // most bytes of most streams
		}
		if start := s.look(client); start >= 0 {
			return start
		}
	}
	return -1
}

// look tries the place s.at, and the candidates that hold that a frame begins there.
func (s *finder) look(client bool) int {
	f, ok := plausible(s.buf[s.at:], client)
	if !ok && s.at != s.next {
		return -1
	}
	met := false
	for i := 0; i < len(s.tries); i++ {
		t := &s.tries[i]
		if t.next != s.at {
			continue
		}
		if !ok || !f.follows(&t.last) || !s.sound(t) {
			s.tries = append(s.tries[:i], s.tries[i+1:]...)
			i--
			continue
		}
		met = true
		if t.n++; t.n == chain {
			return t.start
		}
		t.last, t.next = f, s.at+headerLen+f.length
	}
	if ok && !met && f.typ != frameContinuation && len(s.tries) < maxCandidates {
		s.tries = append(s.tries, candidate{s.at, s.at + headerLen + f.length, 1, f})
	}
	s.next = -1
	for i := range s.tries {
		if n := s.tries[i].next; s.next < 0 || n < s.next {
			s.next = n
		}
	}
	return -1
}

// sound looks at the payload of the last frame of a chain, which is all there.
func (s *finder) sound(t *candidate) bool {
	b := s.buf[t.next-t.last.length:]
	return t.last.sound(b[:t.last.fixed()])
}

// end returns where a frame begins if these were the last bytes: two that end
// where the bytes do are enough then.
func (s *finder) end() int {
	for i := range s.tries {
		if t := &s.tries[i]; t.n >= 2 && t.next == len(s.buf) && s.sound(t) {
			return s.tries[i].start
		}
	}
	return -1
}

// discard forgets the bytes that no frame can begin in any more.
func (s *finder) discard() {
	n := s.at
	if len(s.tries) > 0 {
		n = s.tries[0].start
	}
	if n == 0 {
		return
	}
	s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	s.at -= n
	s.next = max(s.next-n, -1)
	for i := range s.tries {
		s.tries[i].start -= n
		s.tries[i].next -= n
	}
	first := 0
	for i := range s.marks {
		if s.marks[i].at -= n; s.marks[i].at <= 0 {
			first = i
		}
	}
	s.marks = s.marks[:copy(s.marks, s.marks[first:])]
}

// each calls f for the bytes from start on, segment by segment.
func (s *finder) each(start int, f func(p []byte, at Mark) error) error {
	for i, m := range s.marks {
		end := len(s.buf)
		if i+1 < len(s.marks) {
			end = s.marks[i+1].at
		}
		from := max(m.at, start)
		if from >= end {
			continue
		}
		if err := f(s.buf[from:end], m.mark); err != nil {
			return err
		}
	}
	return nil
}

// held is how many bytes of memory s takes.
func (s *finder) held() int {
	if s == nil {
		return 0
	}
	return int(unsafe.Sizeof(*s)) + cap(s.buf) + cap(s.marks)*int(unsafe.Sizeof(placedMark{})) +
		cap(s.tries)*int(unsafe.Sizeof(candidate{}))
}
