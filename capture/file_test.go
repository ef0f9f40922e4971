package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kagami/capture"
)

// readAll returns the packets with copies of their data, and the error at the end.
func readAll(f *capture.File) (all []capture.Packet, err error) {
	for {
		p, err := f.Next()
		if err != nil {
			return all, err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

// pcapFile builds a classic file.
func pcapFile(order binary.AppendByteOrder, magic, link uint32, records ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 262144)
	b = order.AppendUint32(b, link)
	for _, r := range records {
		b = append(b, r...)
	}
	return b
}

func pcapRecord(order binary.AppendByteOrder, sec, frac, length uint32, data string) []byte {
	b := order.AppendUint32(nil, sec)
	b = order.AppendUint32(b, frac)
	b = order.AppendUint32(b, uint32(len(data)))
	b = order.AppendUint32(b, length)
	return append(b, data...)
}

func compress(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

var (
	little = binary.LittleEndian
	big    = binary.BigEndian
)

func TestPcap(t *testing.T) {
	two := func(order binary.AppendByteOrder, magic, link uint32) []byte {
		return pcapFile(order, magic, link, pcapRecord(order, 1e9, 5, 3, "abc"), pcapRecord(order, 4e9, 999, 1500, "de"))
	}
	patched := pcapFile(little, 0xa1b2cd34, 1,
		append(pcapRecord(little, 1e9, 5, 3, "")[:8], "\x03\x00\x00\x00\x03\x00\x00\x00\x07\x00\x00\x00\x08\x00\x04\x00abc"...))
	old := pcapFile(big, 0xa1b2c3d4, 1, append(append(pcapRecord(big, 1e9, 5, 0, "")[:8], "\x00\x00\x05\xdc\x00\x00\x00\x03"...), "abc"...))
	old[7] = 3 // the version 2.3 had the lengths in either order

	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"µs little", two(little, 0xa1b2c3d4, 1), `1000000000.000005000 "abc" 3 link 1; 4000000000.000999000 "de" 1500 link 1;`},
		{"µs big", two(big, 0xa1b2c3d4, 113), `1000000000.000005000 "abc" 3 link 113; 4000000000.000999000 "de" 1500 link 113;`},
		{"ns little", two(little, 0xa1b23c4d, 276), `1000000000.000000005 "abc" 3 link 276; 4000000000.000000999 "de" 1500 link 276;`},
		{"ns big", two(big, 0xa1b23c4d, 276), `1000000000.000000005 "abc" 3 link 276; 4000000000.000000999 "de" 1500 link 276;`},
		{"frame check sequence", two(little, 0xa1b2c3d4, 0x44000001), `1000000000.000005000 "abc" 3 link 1; 4000000000.000999000 "de" 1500 link 1;`},
		{"gzip", compress(two(big, 0xa1b2c3d4, 1)), `1000000000.000005000 "abc" 3 link 1; 4000000000.000999000 "de" 1500 link 1;`},
		{"gzip in two parts", append(compress(two(little, 0xa1b2c3d4, 1)), compress(pcapRecord(little, 1e9, 6, 1, "f"))...),
			`1000000000.000005000 "abc" 3 link 1; 4000000000.000999000 "de" 1500 link 1; 1000000000.000006000 "f" 1 link 1;`},
		{"patched libpcap", patched, `1000000000.000005000 "abc" 3 link 1 interface 7 type 4;`},
		{"version 2.3", old, `1000000000.000005000 "abc" 1500 link 1;`},
		{"no packets", pcapFile(little, 0xa1b2c3d4, 1), ``},
		{"an empty packet", pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 0, 0, 60, "")), `0.000000000 "" 60 link 1;`},
		{"a length less than what was captured", pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 0, 0, 2, "abc")), `0.000000000 "abc" 3 link 1;`},
	} {
		t.Run(c.name, func(t *testing.T) { checkFile(t, c.file, c.want) })
	}
}

// checkFile checks what is in a file.
func checkFile(t *testing.T, file []byte, want string) {
	t.Helper()
	f, err := capture.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	all, err := readAll(f)
	if err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if got := describe(all); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := f.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func describe(all []capture.Packet) string {
	var words []string
	for _, p := range all {
		w := fmt.Sprintf("%d.%09d %q %d link %d", p.Time.Unix(), p.Time.Nanosecond(), p.Data, p.WireLen, p.Link)
		if p.Ifindex != 0 {
			w += fmt.Sprintf(" interface %d", p.Ifindex)
		}
		if p.Type != 0 {
			w += fmt.Sprintf(" type %d", p.Type)
		}
		words = append(words, w+";")
	}
	return strings.Join(words, " ")
}

// Cut anywhere, a file gives the packets that are whole, and then says where it
// was cut.
func TestFileCutShort(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap":   pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 5, "abcde"), pcapRecord(little, 3, 4, 3, "fgh")),
		"pcapng": pcapngFile(little, "abcde", "fgh"),
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := capture.NewFile(bytes.NewReader(file))
			whole, _ := readAll(f)
			if len(whole) != 2 {
				t.Fatalf("%d packets in the whole file", len(whole))
			}
			before, boundaries := 0, 0
			for n := 1; n < len(file); n++ {
				f, err := capture.NewFile(bytes.NewReader(file[:n]))
				if err != nil {
					if before > 0 {
						t.Fatalf("cut at %d: %v", n, err)
					}
					continue
				}
				all, err := readAll(f)
				if len(all) < before || describe(all) != describe(whole[:len(all)]) {
					t.Fatalf("cut at %d: %s", n, describe(all))
				}
				before = len(all)
				if err == io.EOF {
					boundaries++
				} else if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "byte ") {
					t.Fatalf("cut at %d: %v", n, err)
				}
			}
			// pcap: after the header, and after the first record. pcapng: after the section's header,
			// the interface, and the first packet.
			if want := map[string]int{"pcap": 2, "pcapng": 3}[name]; before != 1 || boundaries != want {
				t.Errorf("%d packets before the last, %d whole files, want 1 and %d", before, boundaries, want)
			}
		})
	}
	f, err := capture.NewFile(bytes.NewReader(pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 5, "abcde"), []byte("xyz"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(f); err == nil || !strings.Contains(err.Error(), "byte 45 ") {
		t.Errorf("error %q, want the offset 45 in it", err)
	}
}

// A compressed file that was cut short gives what can be decompressed.
func TestFileCutShortCompressed(t *testing.T) {
	var records [][]byte
	for i := range 5000 {
		records = append(records, pcapRecord(little, uint32(i), uint32(i*i), 40, fmt.Sprintf("%040x", i*i*i)))
	}
	z := compress(pcapFile(little, 0xa1b2c3d4, 1, records...))
	f, err := capture.NewFile(bytes.NewReader(z[:len(z)/2]))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := readAll(f); len(all) < 1000 || len(all) > 4000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d of 5000 packets, error %v", len(all), err)
	}
}

func TestFileDamaged(t *testing.T) {
	huge := pcapRecord(little, 1, 2, 3, "")
	little.PutUint32(huge[8:], 0xfffffff0)
	damagedGzip := compress(pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 5, "abcde")))
	damagedGzip[len(damagedGzip)-5] ^= 1
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not a capture: the file is empty"},
		{"three bytes", []byte("abc"), "not a capture: the file has 3 bytes"},
		{"text", []byte("GET / HTTP/1.1\r\n"), "not a capture: it begins with 47 45 54 20"},
		{"gzip of text", compress([]byte("GET / HTTP/1.1\r\n")), "not a capture: it begins with"},
		{"gzip of nothing", compress(nil), "not a capture: the file is empty"},
		{"begin of gzip", []byte{0x1f, 0x8b, 8, 0, 0}, "decompress"},
		{"half a header", pcapFile(little, 0xa1b2c3d4, 1)[:20], "20 of 24 bytes"},
		{"version", []byte("\xd4\xc3\xb2\xa1\x03\x00\x04\x00................"), "version 3.4"},
		{"record of 4 GiB", pcapFile(little, 0xa1b2c3d4, 1, huge), "damaged at byte 24: a record of 4294967280 bytes"},
		{"checksum of gzip", damagedGzip, "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) { checkDamage(t, c.file, c.want) })
	}
}

// checkDamage checks the error that a file without a whole packet gives, when it
// is opened or read.
func checkDamage(t *testing.T, file []byte, want string) {
	t.Helper()
	f, err := capture.NewFile(bytes.NewReader(file))
	if err == nil {
		_, err = readAll(f)
	}
	if err == nil || err == io.EOF || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q in it", err, want)
	}
}

// A length that lies must not cost memory.
func TestFileLengthThatLies(t *testing.T) {
	lie := pcapRecord(little, 1, 2, 3, "")
	little.PutUint32(lie[8:], 16<<20)
	file := pcapFile(little, 0xa1b2c3d4, 1, lie)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	checkDamage(t, file, "not whole")
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

// A packet may be larger than what is read at once.
func TestFileLargePackets(t *testing.T) {
	long := strings.Repeat("0123456789", 60_000)
	file := pcapFile(big, 0xa1b2c3d4, 1, pcapRecord(big, 1, 2, 3, "abc"), pcapRecord(big, 1, 2, 600_000, long), pcapRecord(big, 1, 2, 600_000, long), pcapRecord(big, 1, 2, 3, "def"))
	for _, r := range []io.Reader{bytes.NewReader(file), oneByte{bytes.NewReader(file)}} {
		f, err := capture.NewFile(r)
		if err != nil {
			t.Fatal(err)
		}
		all, err := readAll(f)
		if err != io.EOF || len(all) != 4 || string(all[2].Data) != long || string(all[3].Data) != "def" {
			t.Errorf("%d packets, error %v", len(all), err)
		}
	}
}

// oneByte reads a byte at a time.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// From a pipe, what has come can be read, and Buffered says when to wait.
func TestFileOfPipe(t *testing.T) {
	r, w := io.Pipe()
	first := append(pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 1, "a"), pcapRecord(little, 1, 2, 1, "b")), "half of"...)
	go w.Write(first)
	f, err := capture.NewFile(r)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		if _, err := f.Next(); err != nil || f.Buffered() != want {
			t.Errorf("packet %d: error %v, %d buffered, want %d", i, err, f.Buffered(), want)
		}
	}
	w.Close()
	if _, err := f.Next(); !errors.Is(err, io.ErrUnexpectedEOF) || f.Buffered() != 0 {
		t.Errorf("error %v, %d buffered", err, f.Buffered())
	}
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.pcap")
	if err := os.WriteFile(path, pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 1, "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := capture.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := f.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
	if _, err := capture.OpenFile(filepath.Join(dir, "b.pcap")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("just text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := capture.OpenFile(text); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("text: %v", err)
	}
}

// A reader that fails is not the same as a file that ends.
func TestFileReadError(t *testing.T) {
	broken := errors.New("the disk is on fire")
	f, err := capture.NewFile(io.MultiReader(bytes.NewReader(pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1, 2, 1, "a"), []byte("xy"))), failing{broken}))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := readAll(f); len(all) != 1 || !errors.Is(err, broken) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d packets, error %v", len(all), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// endless repeats the records of a file after its header.
type endless struct {
	file []byte
	head int // bytes of the header
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if e.at == len(e.file) {
			e.at = e.head
		}
		k := copy(p[n:], e.file[e.at:])
		n, e.at = n+k, e.at+k
	}
	return n, nil
}

func BenchmarkFile(b *testing.B) {
	data := strings.Repeat("x", 500)
	for _, c := range []struct {
		name string
		file []byte
		head int
	}{
		{"pcap", pcapFile(little, 0xa1b2c3d4, 1, pcapRecord(little, 1e9, 5, 500, data)), 24},
		{"pcapng", pcapngFile(little, data), 28 + 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, err := capture.NewFile(&endless{file: c.file, head: c.head})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestFileDoesNotAllocate(t *testing.T) {
	f, err := capture.NewFile(&endless{file: pcapngFile(little, "abc"), head: 28 + 20})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100_000, func() { f.Next() }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if p, err := f.Next(); err != nil || string(p.Data) != "abc" || p.Time != time.Unix(1, 0) {
		t.Errorf("packet %+v, error %v", p, err)
	}
}
