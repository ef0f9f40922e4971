package gor

import "io"

// window is what is read and not yet used.
func (r *Reader) window() []byte { return r.buf[r.pos:r.end] }

// skip moves n bytes on.
func (r *Reader) skip(n int) { r.pos += n }

// have reads until n bytes are there; false: the input ends before.
func (r *Reader) have(n int) bool {
	for r.end-r.pos < n {
		if !r.fill() {
			return false
		}
	}
	return true
}

// fill reads more; false: there is no more.
func (r *Reader) fill() bool {
	if r.srcErr != nil {
		return false
	}
	r.room()
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.srcErr = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	r.srcErr = io.ErrNoProgress
	return false
}

// room makes room to read into: by moving what is not yet used to the front, or
// where that is more than half the buffer, into one of twice the size. The
// buffer grows with what was read and never with what a header promises.
func (r *Reader) room() {
	if r.end < len(r.buf) {
		return
	}
	held, size := r.end-r.pos, len(r.buf)
	switch {
	case held > size/2:
		size *= 2
	case held < usualBuffer/2:
		size = usualBuffer
	}
	to := r.buf
	if size != len(r.buf) {
		to = make([]byte, max(size, usualBuffer))
	}
	copy(to, r.buf[r.pos:r.end])
	r.base += int64(r.pos)
	r.buf, r.pos, r.end = to, 0, held
}
