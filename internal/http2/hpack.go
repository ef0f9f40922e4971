package http2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// errHPACK means that a header block breaks the rules of RFC 7541.
var errHPACK = errors.New("malformed header block")

// A field is a decoded header field. Its slices are valid until the next block
// is decoded.
type field struct {
	name, value []byte
	// unknown means that the name or the value was sent before what was seen.
	unknown bool
}

// A hpackDecoder decodes the header blocks of one direction.
type hpackDecoder struct {
	table   hpackTable
	scratch scratch // strings that were Huffman-coded, of the current block
}

// A scratch is an io.Writer that appends to itself.
type scratch []byte

func (s *scratch) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// begin makes the decoder ready for a new block.
func (d *hpackDecoder) begin() {
	if cap(d.scratch) > keepBuffer {
		d.scratch = nil
	}
	d.scratch = d.scratch[:0]
}

// sane reports whether block, of a connection of which nothing else was seen, is a
// header block that begins a message or ends one.
func sane(block []byte) bool {
	var d hpackDecoder
	d.table.forget()
	telling := false
	for len(block) > 0 {
		f, ok, rest, err := d.next(block)
		if err != nil || ok && !f.unknown && len(f.name) == 0 {
			return false
		}
		telling = telling || f.unknown || ok && f.name[0] == ':'
		block = rest
	}
	return telling
}

// next decodes the first representation in b, which is not empty, and returns
// what follows it. ok is false where it is no field but changes the table. After
// an error the table is that of nobody: forget it.
func (d *hpackDecoder) next(b []byte) (f field, ok bool, rest []byte, err error) {
	c := b[0]
	switch {
	case c&0x80 != 0: // indexed (RFC 7541 §6.1)
		i, rest, err := hpackInt(b, 7)
		if err != nil {
			return f, false, nil, err
		}
		f, err = d.table.at(i)
		return f, true, rest, err
	case c&0xc0 == 0x40: // literal, to be indexed (§6.2.1)
		f, rest, err = d.literal(b, 6)
		if err == nil {
			d.table.add(f)
		}
		return f, true, rest, err
	case c&0xe0 == 0x20: // size update (§6.3)
		n, rest, err := hpackInt(b, 5)
		if err == nil {
			d.table.resize(n)
		}
		return f, false, rest, err
	}
	f, rest, err = d.literal(b, 4) // without indexing, or never indexed (§6.2.2, §6.2.3)
	return f, true, rest, err
}

// literal decodes a literal field whose name is an index, of so many bits, or a string.
func (d *hpackDecoder) literal(b []byte, bits uint) (f field, rest []byte, err error) {
	i, b, err := hpackInt(b, bits)
	if err != nil {
		return f, nil, err
	}
	if i > 0 {
		if f, err = d.table.at(i); err != nil {
			return f, nil, err
		}
	} else if f.name, b, err = d.str(b); err != nil {
		return f, nil, err
	}
	f.value, rest, err = d.str(b)
	return f, rest, err
}

// str decodes a string (RFC 7541 §5.2).
func (d *hpackDecoder) str(b []byte) (s, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errHPACK
	}
	huffman := b[0]&0x80 != 0
	n, b, err := hpackInt(b, 7)
	if err != nil || n > uint64(len(b)) {
		return nil, nil, errHPACK
	}
	if !huffman {
		return b[:n], b[n:], nil
	}
	start := len(d.scratch)
	if _, err := hpack.HuffmanDecode(&d.scratch, b[:n]); err != nil {
		return nil, nil, errHPACK
	}
	return d.scratch[start:len(d.scratch):len(d.scratch)], b[n:], nil
}

// hpackInt decodes an integer with a prefix of so many bits (RFC 7541 §5.1).
func hpackInt(b []byte, bits uint) (n uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errHPACK
	}
	limit := uint64(1)<<bits - 1
	n = uint64(b[0]) & limit
	b = b[1:]
	if n < limit {
		return n, b, nil
	}
	for shift := uint(0); shift < 63; shift += 7 {
		if len(b) == 0 {
			return 0, nil, errHPACK
		}
		c := b[0]
		b = b[1:]
		n += uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, b, nil
		}
	}
	return 0, nil, errHPACK
}

const (
	hpackDefaultSize = 4096     // of a table, until something else is said (RFC 9113 §6.5.2)
	hpackMaxSize     = 64 << 10 // what is kept of a larger one
	hpackOverhead    = 32       // what an entry counts for beside its strings (RFC 7541 §4.1)
)

// A hpackEntry is an entry of the dynamic table. Its strings share one array.
type hpackEntry struct {
	b       []byte
	name    int // b[:name] is the name
	unknown bool
}

func (e *hpackEntry) size() int { return len(e.b) + hpackOverhead }

// A hpackTable is a dynamic table (RFC 7541 §2.3.2) of which the older part may
// not be known. What is known is always the newest entries, and never fewer of them than the
// sender has, so that an index names the right one or one that is not known. Entries
// are evicted by the sizes that are known, which are no larger than the real ones.
type hpackTable struct {
	entries []hpackEntry // oldest first
	gone    int          // entries[:gone] were evicted
	size    int          // of those that are left
	max     int
	partial bool // there may be older entries than those in the table
	sized   bool // max is what the sender keeps to; only partial tables may lack it
}

// begin makes t the table of a connection that begins.
func (t *hpackTable) begin() {
	*t = hpackTable{max: hpackDefaultSize, sized: true}
}

// forget makes t the table of a connection that began long ago.
func (t *hpackTable) forget() {
	*t = hpackTable{max: hpackMaxSize, partial: true}
}

// at returns the field with an index (RFC 7541 §2.3.3).
func (t *hpackTable) at(i uint64) (field, error) {
	if i == 0 {
		return field{}, errHPACK
	}
	if i <= uint64(len(hpackStatic)) {
		return hpackStatic[i-1], nil
	}
	i -= uint64(len(hpackStatic))
	if n := uint64(len(t.entries) - t.gone); i > n {
		if t.partial {
			return field{unknown: true}, nil
		}
		return field{}, errHPACK
	}
	e := &t.entries[len(t.entries)-int(i)]
	return field{name: e.b[:e.name:e.name], value: e.b[e.name:], unknown: e.unknown}, nil
}

// add inserts a field as the newest entry.
func (t *hpackTable) add(f field) {
	e := hpackEntry{name: len(f.name), unknown: f.unknown}
	size := len(f.name) + len(f.value) + hpackOverhead
	if size > t.max || !t.sized && size > hpackDefaultSize || f.unknown && size > hpackDefaultSize/2 {
		// It empties the table and is not in it itself (RFC 7541 §4.4), or that is
		// what it may do: the entries behind it can't be told apart any more.
		t.evict(0)
		return
	}
	e.b = append(append(make([]byte, 0, len(f.name)+len(f.value)), f.name...), f.value...)
	t.evict(t.max - size)
	t.entries = append(t.entries, e)
	t.size += size
}

// resize sets the size that the sender keeps to from now on.
func (t *hpackTable) resize(n uint64) {
	t.sized = true
	t.max = hpackMaxSize
	if n <= hpackMaxSize {
		t.max = int(n)
	} else {
		t.partial = true // entries that it has and t has not
	}
	t.evict(t.max)
	if n == 0 {
		t.partial = false // nobody has any
	}
}

// evict takes the oldest entries out until the others are no larger than max.
func (t *hpackTable) evict(max int) {
	for t.size > max {
		t.size -= t.entries[t.gone].size()
		t.entries[t.gone] = hpackEntry{}
		t.gone++
	}
	if t.gone > 16 && t.gone > len(t.entries)/2 {
		n := copy(t.entries, t.entries[t.gone:])
		clear(t.entries[n:])
		t.entries, t.gone = t.entries[:n], 0
	}
}

// held is how many bytes of memory t takes beside itself.
func (t *hpackTable) held() int { return t.size + cap(t.entries)*hpackOverhead }

// hpackStatic is the static table (RFC 7541 appendix A), as x/net has it.
var hpackStatic = func() (t [61]field) {
	n := 0
	d := hpack.NewDecoder(0, func(f hpack.HeaderField) {
		t[n] = field{name: []byte(f.Name), value: []byte(f.Value)}
		n++
	})
	for i := range t {
		if _, err := d.Write([]byte{0x80 | byte(i+1)}); err != nil || n != i+1 {
			return [61]field{} // not reached: a test looks at each entry
		}
	}
	return t
}()
