package stream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"kagami"
)

// A batch is a head and its records:
//
//	 0  4 bytes "KGMB"
//	 4  u8  version, 1
//	 5  u8  flags: 1 compressed with zstd, others reserved
//	 6  u8  hop of the sender
//	 7  u8  0
//	 8  u64 sequence number of the first record
//	16  u32 records
//	20  u32 length of what follows the head
//	24  u32 length of the records, which differs only in a compressed batch
//	28  u32 CRC-32C of the 28 bytes before and of what follows
const (
	// BatchHead is the length of a batch's head, in bytes.
	BatchHead    = 32
	batchMagic   = "KGMB"
	batchVersion = 1

	flagZstd = 1
)

// Limits bound what a reader takes and a writer makes. A zero field means its
// default.
type Limits struct {
	// Record is how long a record may be, in bytes: 20 MiB.
	Record int
	// Batch is how long a batch may be, in bytes without its head: 32 MiB.
	Batch int
	// Records is how many records a batch may hold: 65 536.
	Records int
}

// The defaults of Limits.
const (
	DefaultMaxRecord  = 20 << 20
	DefaultMaxBatch   = 32 << 20
	DefaultMaxRecords = 65536
)

func (l Limits) withDefaults() Limits {
	if l.Record <= 0 {
		l.Record = DefaultMaxRecord
	}
	if l.Batch <= 0 {
		l.Batch = DefaultMaxBatch
	}
	if l.Records <= 0 {
		l.Records = DefaultMaxRecords
	}
	l.Batch = min(l.Batch, math.MaxInt32)
	l.Record = min(l.Record, l.Batch)
	return l
}

// Fits reports whether the record of m is within the limits.
func (l Limits) Fits(m *kagami.Message) bool {
	return RecordBound(m) <= l.withDefaults().Record
}

// A Head is the head of a batch.
type Head struct {
	// Hop is the hop of the sender: the messages are one further.
	Hop uint8
	// Seq is the number of the first record; the following have the next ones.
	// The first record of a stream or file is 1.
	Seq uint64
	// Records is how many there are.
	Records int
	// Length is how many bytes follow the head.
	Length int
	// Size is how many bytes the records have: Length, unless they are compressed.
	Size int
	// Compressed says that what follows the head is compressed with zstd.
	Compressed bool

	raw [BatchHead]byte
}

// Last is the number of the last record.
func (h *Head) Last() uint64 { return h.Seq + uint64(h.Records) - 1 }

// ParseHead reads a batch's head from the first BatchHead bytes of raw, and checks it against the limits.
func ParseHead(raw []byte, limits Limits) (Head, error) {
	return parseHead(raw[:BatchHead], limits.withDefaults())
}

func parseHead(raw []byte, limits Limits) (Head, error) {
	h := Head{raw: [BatchHead]byte(raw)}
	if string(raw[:4]) != batchMagic {
		return h, fmt.Errorf("% x is not the start of a batch", raw[:4])
	}
	if raw[4] != batchVersion {
		return h, fmt.Errorf("batch of format version %d, and this version reads %d: is the sender newer than the reader?", raw[4], batchVersion)
	}
	if raw[5]&^flagZstd != 0 {
		return h, fmt.Errorf("batch with unknown flags %#02x", raw[5])
	}
	h.Compressed = raw[5]&flagZstd != 0
	h.Hop = raw[6]
	h.Seq = binary.BigEndian.Uint64(raw[8:])
	records, length, size := binary.BigEndian.Uint32(raw[16:]), binary.BigEndian.Uint32(raw[20:]), binary.BigEndian.Uint32(raw[24:])
	switch {
	case uint64(length) > uint64(limits.Batch):
		return h, fmt.Errorf("batch of %d bytes: %w, the limit is %d", length, ErrTooLarge, limits.Batch)
	case uint64(size) > uint64(limits.Batch):
		return h, fmt.Errorf("batch of %d bytes when unpacked: %w, the limit is %d", size, ErrTooLarge, limits.Batch)
	case uint64(records) > uint64(limits.Records):
		return h, fmt.Errorf("batch of %d records: %w, the limit is %d", records, ErrTooLarge, limits.Records)
	case records == 0 || size/recordHead < records:
		return h, fmt.Errorf("batch of %d records in %d bytes", records, size)
	case size != length && !h.Compressed || size <= length && h.Compressed:
		return h, fmt.Errorf("batch of %d bytes that says its records have %d", length, size)
	case h.Seq == 0 || h.Seq > math.MaxUint64-uint64(records):
		return h, fmt.Errorf("batch of %d records with sequence number %d", records, h.Seq)
	}
	h.Records, h.Length, h.Size = int(records), int(length), int(size)
	return h, nil
}

// firstRead is how much is allocated for a batch before any of it was read.
const firstRead = 256 << 10

// ReadBody reads what follows the head of a batch from r and checks its
// CRC-32C; what is compressed it leaves so. It uses buf where that is large enough, and allocates no more than
// about twice what could be read. Its error is io.ErrUnexpectedEOF if r ends early.
func (h *Head) ReadBody(r io.Reader, buf []byte) ([]byte, error) {
	if cap(buf) < min(h.Length, firstRead) {
		buf = make([]byte, min(h.Length, firstRead))
	}
	buf = buf[:0]
	for len(buf) < h.Length {
		if len(buf) == cap(buf) {
			bigger := make([]byte, len(buf), min(2*cap(buf), h.Length))
			copy(bigger, buf)
			buf = bigger
		}
		part := buf[len(buf):min(cap(buf), h.Length)]
		n, err := io.ReadFull(r, part)
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, h.Check(buf)
}

// castagnoli is the table of CRC-32C (RFC 9260, appendix A). It is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check compares the CRC-32C in the head with that of head and body.
func (h *Head) Check(body []byte) error {
	want := binary.BigEndian.Uint32(h.raw[28:])
	got := crc32.Update(crc32.Checksum(h.raw[:28], castagnoli), castagnoli, body)
	if got != want {
		return fmt.Errorf("batch with CRC-32C %08x where its head says %08x: bytes were changed on the way", got, want)
	}
	return nil
}

// messageHop is the hop of the messages that a batch brought.
func (h *Head) messageHop() uint8 {
	if h.Hop == math.MaxUint8 {
		return h.Hop
	}
	return h.Hop + 1
}

// Messages returns the messages in the body of a batch, in order, and how many
// records were of an unknown kind. Their Raw aliases body, which is to be left
// alone from then on; exchanges do not alias it. If it is compressed, they alias
// h.Size bytes that are allocated for what is in it. An error is about the whole
// batch: none of it can be trusted.
func (h *Head) Messages(body []byte, limits Limits) (messages []*kagami.Message, unknown int, err error) {
	limits = limits.withDefaults()
	if body, err = h.unpack(body, nil); err != nil {
		return nil, 0, err
	}
	messages = make([]*kagami.Message, 0, h.Records)
	var ms []kagami.Message
	var es []kagami.Exchange
	left := h.Records
	for range h.Records {
		n, err := recordLen(body, limits.Record)
		if err != nil {
			return nil, 0, err
		}
		record := body[:n]
		body = body[n:]
		if !known(record) {
			unknown++
			left--
			continue
		}
		if len(ms) == 0 {
			// In small slabs, for an exchange that is remembered keeps its slab.
			ms = make([]kagami.Message, min(left, slab))
			es = make([]kagami.Exchange, min(left, slab))
		}
		m, e := &ms[0], &es[0]
		ms, es, left = ms[1:], es[1:], left-1
		if err := parseRecord(record, m, e); err != nil {
			return nil, 0, err
		}
		m.Hop = h.messageHop()
		messages = append(messages, m)
	}
	if len(body) > 0 {
		return nil, 0, fmt.Errorf("%d bytes behind the last record of a batch", len(body))
	}
	return messages, unknown, nil
}

// slab is how many messages and how many exchanges are allocated at a time.
const slab = 32

// ParseBatch reads a batch that is whole in b, as from a broker, whose Raw then
// aliases b. See [Head.Messages].
func ParseBatch(b []byte, limits Limits) (h Head, messages []*kagami.Message, unknown int, err error) {
	if len(b) < BatchHead {
		return h, nil, 0, fmt.Errorf("batch of %d bytes: %w", len(b), io.ErrUnexpectedEOF)
	}
	if h, err = parseHead(b[:BatchHead], limits.withDefaults()); err != nil {
		return h, nil, 0, err
	}
	body := b[BatchHead:]
	if len(body) < h.Length {
		return h, nil, 0, fmt.Errorf("batch of %d bytes: %w", h.Length, io.ErrUnexpectedEOF)
	}
	if len(body) > h.Length {
		return h, nil, 0, fmt.Errorf("%d bytes behind the end of a batch", len(body)-h.Length)
	}
	if err = h.Check(body); err != nil {
		return h, nil, 0, err
	}
	messages, unknown, err = h.Messages(body, limits)
	return h, messages, unknown, err
}

// A Builder puts a batch together. The zero value is empty; Reset gives it a
// buffer to use again.
type Builder struct {
	buf     []byte
	records int
	hop     uint8
}

// Reset empties the builder, and makes it use the memory of buf.
func (b *Builder) Reset(buf []byte) { *b = Builder{buf: buf[:0]} }

// Move goes on in the memory of buf, which has room for Len bytes, and returns the memory used before.
func (b *Builder) Move(buf []byte) (old []byte) {
	old = b.buf
	b.buf = append(buf[:0], old...)
	return old[:0]
}

// Add appends the record of m, which Takes said the batch takes.
func (b *Builder) Add(m *kagami.Message) {
	if b.records == 0 {
		b.hop = m.Hop
		b.buf = append(b.buf[:0], make([]byte, BatchHead)...)
	}
	b.buf = AppendRecord(b.buf, m)
	b.records++
}

// Takes reports whether m can be added: a batch has the messages of one hop,
// and neither more of them than the limits allow nor more bytes than size. To
// an empty batch any message can be added that Limits.Fits.
func (b *Builder) Takes(m *kagami.Message, size int, limits Limits) bool {
	if b.records == 0 {
		return true
	}
	limits = limits.withDefaults()
	return m.Hop == b.hop && b.records < limits.Records && b.Len()+RecordBound(m) <= min(size, limits.Batch)
}

// Records is how many records were added.
func (b *Builder) Records() int { return b.records }

// Len is the length of the batch so far, head included; 0 if it is empty.
func (b *Builder) Len() int {
	if b.records == 0 {
		return 0
	}
	return len(b.buf)
}

// Cap is how many bytes of memory the builder holds.
func (b *Builder) Cap() int { return cap(b.buf) }

// Finish writes the head and returns the batch, which must not be empty and is
// valid until the builder is used again. The first record gets the number seq.
func (b *Builder) Finish(seq uint64) []byte {
	h := b.buf[:BatchHead]
	copy(h, batchMagic)
	h[4], h[5], h[6], h[7] = batchVersion, 0, b.hop, 0
	body := b.buf[BatchHead:]
	binary.BigEndian.PutUint64(h[8:], seq)
	binary.BigEndian.PutUint32(h[16:], uint32(b.records))
	binary.BigEndian.PutUint32(h[20:], uint32(len(body)))
	binary.BigEndian.PutUint32(h[24:], uint32(len(body)))
	sign(b.buf)
	return b.buf
}

// Take reports whether a reader with these limits takes a batch that was read with others.
func (l Limits) Take(h *Head, body []byte) bool {
	l = l.withDefaults()
	if h.Length > l.Batch || h.Size > l.Batch || h.Records > l.Records {
		return false
	}
	if h.Size-(h.Records-1)*recordHead <= l.Record {
		return true
	}
	body, err := h.unpack(body, nil)
	for err == nil && len(body) > 0 {
		var n int
		if n, err = recordLen(body, l.Record); err == nil {
			body = body[n:]
		}
	}
	return err == nil
}
