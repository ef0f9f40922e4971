package output

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// zipHead is the head of a gzip member: no name, no time, compressed fast, by
// whatever system (RFC 1952 §2.3).
const zipHead = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"

// A zipper compresses what is to be written to a file. What it writes and its
// tail behind it are a whole gzip member at any time, so that a recording can
// be read to its end while it is made, after a crash, and on a full disk; what
// is written next takes the tail's place.
type zipper struct {
	deflate *flate.Writer
	out     bytes.Buffer // compressed, not written
	crc     uint32
	size    uint32
}

func newZipper() *zipper {
	z := &zipper{}
	z.deflate, _ = flate.NewWriter(&z.out, flate.BestSpeed) // a level there is
	z.out.WriteString(zipHead)
	return z
}

// add compresses b. Errors there are none: a buffer takes everything.
func (z *zipper) add(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, b)
	z.size += uint32(len(b))
	if _, err := z.deflate.Write(b); err != nil {
		return err
	}
	return z.deflate.Flush()
}

// tail ends the member behind what was added: an empty last block (RFC 1951
// §3.2.4), the checksum and the size (RFC 1952 §2.3.1).
func (z *zipper) tail() []byte {
	b := []byte{1, 0, 0, 0xff, 0xff}
	b = binary.LittleEndian.AppendUint32(b, z.crc)
	return binary.LittleEndian.AppendUint32(b, z.size)
}
