package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// decodeAll decodes a block into "name: value" lines, "?" for what is unknown.
func (d *hpackDecoder) decodeAll(block []byte) (lines []string, err error) {
	d.begin()
	for len(block) > 0 {
		f, ok, rest, err := d.next(block)
		if err != nil {
			return lines, err
		}
		if ok && f.unknown {
			lines = append(lines, "?")
		} else if ok {
			lines = append(lines, string(f.name)+": "+string(f.value))
		}
		block = rest
	}
	return lines, nil
}

func TestStaticTable(t *testing.T) {
	// RFC 7541 appendix A, here and there.
	for i, want := range map[int]string{1: ":authority=", 2: ":method=GET", 8: ":status=200", 16: "accept-encoding=gzip, deflate", 61: "www-authenticate="} {
		if f := hpackStatic[i-1]; string(f.name)+"="+string(f.value) != want {
			t.Errorf("entry %d is %s=%s, want %s", i, f.name, f.value, want)
		}
	}
	for i, f := range hpackStatic {
		if len(f.name) == 0 {
			t.Errorf("entry %d has no name", i+1)
		}
	}
}

// The examples of RFC 7541 appendix C.3, C.4 and C.5: requests without and with
// Huffman coding, and responses in a table of 256 bytes.
func TestRFCExamples(t *testing.T) {
	requests := []string{
		":method: GET|:scheme: http|:path: /|:authority: www.example.com",
		":method: GET|:scheme: http|:path: /|:authority: www.example.com|cache-control: no-cache",
		":method: GET|:scheme: https|:path: /index.html|:authority: www.example.com|custom-key: custom-value",
	}
	const date, location = "date: Mon, 21 Oct 2013 20:13:2", "location: https://www.example.com"
	responses := []string{
		":status: 302|cache-control: private|" + date + "1 GMT|" + location,
		":status: 307|cache-control: private|" + date + "1 GMT|" + location,
		":status: 200|cache-control: private|" + date + "2 GMT|" + location + "|content-encoding: gzip|set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
	}
	for _, c := range []struct {
		name  string
		size  int
		block []string
		want  []string
		table []int // its size behind each block
	}{
		{"C.3", 4096, []string{
			"828684410f7777772e6578616d706c652e636f6d",
			"828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		}, requests, []int{57, 110, 164}},
		{"C.4", 4096, []string{
			"828684418cf1e3c2e5f23a6ba0ab90f4ff",
			"828684be5886a8eb10649cbf",
			"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		}, requests, []int{57, 110, 164}},
		{"C.5", 256, []string{
			"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
		}, responses, []int{222, 222, 215}},
	} {
		var d hpackDecoder
		d.table.begin()
		d.table.resize(uint64(c.size))
		for i, s := range c.block {
			var block []byte
			fmt.Sscanf(s, "%x", &block)
			lines, err := d.decodeAll(block)
			if got := strings.Join(lines, "|"); got != c.want[i] || err != nil {
				t.Errorf("%s.%d: %s, %v, want %s", c.name, i+1, got, err, c.want[i])
			}
			if d.table.size != c.table[i] {
				t.Errorf("%s.%d: the table has %d bytes, want %d", c.name, i+1, d.table.size, c.table[i])
			}
		}
	}
}

func TestBrokenBlocks(t *testing.T) {
	for _, s := range []string{
		"\x80", // index 0
		"\xbe", // an entry that is not there
		"\x7f", // half an integer
		"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80", // an integer without end
		"\x40", "\x40\x05abc", "\x40\x01a", "\x40\x01a\x05b", // half a string
		"\x40\x81\xff\x01b", // no Huffman code
		"\x7e\x01a",         // the name of an entry that is not there
	} {
		var d hpackDecoder
		d.table.begin()
		if lines, err := d.decodeAll([]byte(s)); err != errHPACK {
			t.Errorf("%q: %q, %v", s, lines, err)
		}
	}
}

// A table of which the beginning was not seen: what may be evicted from it, and
// what its size is, is not known either.
func TestTableJoinedLate(t *testing.T) {
	str := func(n int) string { return "\x7f" + string(hpackLen(n-127)) + strings.Repeat("v", n) }
	const small, newest, second = "\x40\x01a\x01b", "\xbe", "\xbf"
	for _, c := range []struct{ name, block, want string }{
		{"nothing is known", newest, "?"},
		{"what was added is", small + newest + second, "a: b|a: b|?"},
		{"a large entry may have emptied it", small + "\x40\x01x" + str(5000) + newest + second, "a: b|x: |?|?"},
		{"and what follows is known again", "\x40\x01x" + str(5000) + small + newest, "x: |a: b|a: b"},
		{"one that fits has not", small + "\x40\x01x" + str(4000) + newest + second, "a: b|x: |x: |a: b"},
		{"so may one whose name is not known", small + "\x7f\x00" + str(3000) + newest + second, "a: b|?|?|?"},
		{"if it is not short", small + "\x7f\x00" + str(1000) + newest + second, "a: b|?|?|a: b"},
		{"where the size is known, so is what it empties", "\x3f\xe1\x7f" + small + "\x40\x01x" + str(5000) + newest + second, "a: b|x: |x: |a: b"},
		{"a table that was emptied is known", "\x20\x3f\xe1\x1f" + small + newest, "a: b|a: b"},
		{"to the last", "\x20\x3f\xe1\x1f" + small + second, "a: b|error"},
		{"one that is larger than what is kept is not", "\x20\x3f\xe1\xff\xff\x07" + small + second, "a: b|?"},
	} {
		var d hpackDecoder
		d.table.forget()
		lines, err := d.decodeAll([]byte(c.block))
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], "v")
		}
		if err != nil {
			lines = append(lines, "error")
		}
		if got := strings.Join(lines, "|"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// hpackLen is what follows the prefix of an integer (RFC 7541 §5.1).
func hpackLen(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// blocks encodes random fields as a client that uses all that HPACK has.
func blocks(seed uint64, n int) (encoded [][]byte) {
	r := rand.New(rand.NewPCG(seed, 3))
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.SetMaxDynamicTableSizeLimit(1 << 20)
	sizes, size := []uint32{0, 100, 4096, 4096, 65536, 200_000}, uint32(4096)
	for range n {
		b.Reset()
		changed := r.IntN(40) == 0
		if changed {
			size = sizes[r.IntN(len(sizes))]
			e.SetMaxDynamicTableSize(size)
		}
		for range 1 + r.IntN(12) {
			f := hpack.HeaderField{Name: fmt.Sprint("name-", r.IntN(30)), Value: fmt.Sprint(r.IntN(4)), Sensitive: r.IntN(8) == 0}
			switch r.IntN(20) {
			case 0:
				f = hpack.HeaderField{Name: ":method", Value: "GET"}
			case 1:
				f.Value = strings.Repeat("v", r.IntN(6000))
			case 2:
				f.Value = string([]byte{byte(r.IntN(256)), 0xff})
			}
			if r.IntN(100) == 0 && size <= 4096 && !changed { // one that empties the table, which this encoder never sends
				b.WriteString("\x40\x01x\x7f\x81\x7f" + strings.Repeat("y", 127+16257))
				e = hpack.NewEncoder(&b)
				e.SetMaxDynamicTableSizeLimit(1 << 20)
				e.SetMaxDynamicTableSize(size)
				continue
			}
			e.WriteField(f)
		}
		encoded = append(encoded, bytes.Clone(b.Bytes()))
	}
	return encoded
}

// Where all is seen, a decoder that knows tables of any size must agree. Where the
// beginning or a block in the middle was not, nothing that is known may be wrong.
func TestAgainstAnotherDecoder(t *testing.T) {
	known, unknown := 0, 0
	for seed := range uint64(20) {
		bs := blocks(seed, 200)
		for _, missed := range []int{-1, 0, 50} { // from the first block on, or from there
			var lines []string
			other := hpack.NewDecoder(4096, func(f hpack.HeaderField) { lines = append(lines, f.Name+": "+f.Value) })
			other.SetAllowedMaxDynamicTableSize(1 << 30)
			var d hpackDecoder
			d.table.begin()
			for i, block := range bs {
				lines = nil
				if _, err := other.Write(block); err != nil {
					t.Fatal(err)
				}
				other.Close()
				if i < missed+5 && i >= missed && missed >= 0 {
					d.table.forget()
					continue
				}
				got, err := d.decodeAll(block)
				if err != nil || len(got) != len(lines) {
					t.Fatalf("seed %d, missed %d, block %d: %d fields, %v, want %d", seed, missed, i, len(got), err, len(lines))
				}
				for j := range got {
					if got[j] == "?" {
						unknown++
					} else if known++; got[j] != lines[j] {
						t.Fatalf("seed %d, missed %d, block %d: %.50q, want %.50q", seed, missed, i, got[j], lines[j])
					}
					if got[j] == "?" && !d.table.partial {
						t.Fatalf("seed %d: a field is not known of a table that is", seed)
					}
				}
				if d.table.size > hpackMaxSize {
					t.Fatalf("%d bytes in the table", d.table.size)
				}
			}
		}
	}
	if known < 10*unknown || unknown == 0 {
		t.Errorf("%d fields known, %d not", known, unknown)
	}
	t.Logf("%d fields known, %d not", known, unknown)
}

// FuzzHPACK compares with the decoder of x/net on any blocks; cut says where
// each of them ends.
func FuzzHPACK(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(bytes.Join(blocks(seed, 3), nil), uint16(0))
	}
	f.Add([]byte("\x82\x86\x84\x41\x0fwww.example.com\x82\xbe\x3f\xe1\x1f\xbe"), uint16(19))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var lines []string
		other := hpack.NewDecoder(4096, func(f hpack.HeaderField) { lines = append(lines, f.Name+": "+f.Value) })
		other.SetAllowedMaxDynamicTableSize(1 << 30)
		var whole, late hpackDecoder
		whole.table.begin()
		late.table.forget()
		at := min(int(cut), len(b))
		for i, block := range [][]byte{b[:at], b[at:]} {
			lines = nil
			_, err := other.Write(block)
			if cerr := other.Close(); err == nil {
				err = cerr
			}
			got, gotErr := whole.decodeAll(block)
			if err != nil {
				return // the other is stricter about where sizes may change
			}
			same := gotErr == nil && len(got) == len(lines)
			for j := range lines {
				same = same && (got[j] == lines[j] || got[j] == "?" && whole.table.partial)
			}
			if !same {
				t.Fatalf("block %d: %q, %v, want %q", i, got, gotErr, lines)
			}
			if i == 0 {
				continue
			}
			got, gotErr = late.decodeAll(block)
			if gotErr != nil || len(got) != len(lines) {
				t.Fatalf("joined late: %q, %v, want %q", got, gotErr, lines)
			}
			for j := range got {
				if got[j] != lines[j] && got[j] != "?" {
					t.Fatalf("joined late: %q, want %q", got[j], lines[j])
				}
			}
		}
	})
}
