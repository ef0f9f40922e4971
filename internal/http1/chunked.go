package http1

import (
	"bytes"
	"math"
)

// A place is where in a chunked body (RFC 9112 §7.1) the next byte belongs.
type place uint8

const (
	inSize     place = iota // before the first digit of a chunk size
	inDigits                // behind one
	inBlank                 // in whitespace behind the size
	inExt                   // in a chunk extension
	inSizeLF                // behind the CR that may end the line of the size
	inData                  // in the data of a chunk
	inDataCR                // behind the data
	inDataLF                // behind the data and a CR
	inTrailer               // at the start of a line of the trailer section
	inLine                  // in a line of the trailer section
	inLastLF                // behind a CR at the start of a line of it
	afterChunk              // behind the body
)

// chunks follows the framing of a chunked body. The zero value stands before
// the first chunk.
type chunks struct {
	at        place
	cr        bool  // in an extension or trailer line: the last byte was a CR
	ambiguous bool  // a line ended in a bare LF, had a bare CR or a blank before its end
	left      int64 // of the size, while it is read; of the data, then
}

// step consumes n bytes of p, which is not empty: either all data or all
// framing.
func (c *chunks) step(p []byte) (n int, data bool, err error) {
	switch c.at {
	case inData:
		n = len(p)
		if int64(n) >= c.left {
			n = int(c.left)
			c.at = inDataCR
		}
		c.left -= int64(n)
		return n, true, nil
	case inExt, inLine:
		return c.restOfLine(p), false, nil
	}
	return 1, false, c.framing(p[0])
}

// framing consumes one byte that is neither data nor inside a line whose
// content does not matter.
func (c *chunks) framing(b byte) error {
	switch c.at {
	case inSize, inDigits, inBlank:
		return c.size(b)
	case inSizeLF:
		if b == '\n' {
			c.sizeDone()
			return nil
		}
	case inDataCR:
		switch b {
		case '\r':
			c.at = inDataLF
			return nil
		case '\n':
			c.ambiguous = true
			c.at = inSize
			return nil
		}
	case inDataLF:
		if b == '\n' {
			c.at = inSize
			return nil
		}
	case inTrailer:
		c.trailer(b)
		return nil
	case inLastLF:
		if b == '\n' {
			c.at = afterChunk
		} else {
			c.ambiguous = true
			c.at = inLine
		}
		return nil
	}
	return ErrChunk
}

// size consumes a byte of a chunk size or of what follows it on its line.
func (c *chunks) size(b byte) error {
	d, hex := hexDigit(b)
	switch {
	case hex && c.at != inBlank:
		if c.left > (math.MaxInt64-d)/16 {
			return ErrChunk
		}
		c.left = c.left*16 + d
		c.at = inDigits
	case c.at == inSize:
		return ErrChunk
	case b == ';':
		c.at = inExt
	case b == '\r':
		c.at = inSizeLF
	case b == '\n':
		c.ambiguous = true
		c.sizeDone()
	case class[b] == blank:
		c.ambiguous = true
		c.at = inBlank
	default:
		return ErrChunk
	}
	return nil
}

func (c *chunks) sizeDone() {
	c.at = inData
	if c.left == 0 {
		c.at = inTrailer
	}
}

// trailer consumes the first byte of a line of the trailer section.
func (c *chunks) trailer(b byte) {
	switch b {
	case '\r':
		c.at = inLastLF
	case '\n':
		c.ambiguous = true
		c.at = afterChunk
	default:
		c.at = inLine
	}
}

// restOfLine consumes an extension or a trailer line as far as p goes.
func (c *chunks) restOfLine(p []byte) (n int) {
	n = bytes.IndexByte(p, '\n')
	if n < 0 {
		n = len(p)
		c.bareCR(p)
		c.cr = p[n-1] == '\r'
		return n
	}
	if n > 0 {
		c.bareCR(p[:n])
		c.cr = p[n-1] == '\r'
	}
	if !c.cr {
		c.ambiguous = true
	}
	c.cr = false
	if c.at == inExt {
		c.sizeDone()
	} else {
		c.at = inTrailer
	}
	return n + 1
}

// bareCR looks for a CR in front of a byte of p.
func (c *chunks) bareCR(p []byte) {
	if c.cr || bytes.IndexByte(p[:len(p)-1], '\r') >= 0 {
		c.ambiguous = true
	}
}

// hexDigit returns the value of a hexadecimal digit.
func hexDigit(b byte) (int64, bool) {
	switch {
	case b >= '0' && b <= '9':
		return int64(b - '0'), true
	case b >= 'a' && b <= 'f':
		return int64(b-'a') + 10, true
	case b >= 'A' && b <= 'F':
		return int64(b-'A') + 10, true
	}
	return 0, false
}
