package gor_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"kagami"
	"kagami/internal/gor"
)

const (
	get  = "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n"
	ok   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	sep  = gor.Separator
	head = "1 9c4000500a00000100001388 1700000000123456789 1500\n"
)

// readAll reads until the error that ends it.
func readAll(src io.Reader) (messages []*kagami.Message, err error) {
	return drain(gor.NewReader(src))
}

func drain(r *gor.Reader) (messages []*kagami.Message, err error) {
	for {
		m, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				panic("the error did not stay")
			}
			return messages, err
		}
		messages = append(messages, m)
	}
}

func raws(messages []*kagami.Message) []string {
	s := []string{}
	for _, m := range messages {
		s = append(s, string(m.Raw))
	}
	return s
}

func equal(a, b []string) bool {
	return strings.Join(a, "\x00|\x00") == strings.Join(b, "\x00|\x00") && len(a) == len(b)
}

// A record as GoReplay writes it: every field of the message it makes.
func TestReaderFields(t *testing.T) {
	messages, err := readAll(strings.NewReader(head + get + sep))
	if err != io.EOF || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	m := messages[0]
	start := time.Unix(1700000000, 123456789).UTC()
	want := kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Hop: 1, WireLen: len(get),
		Start: start, End: start.Add(1500),
		Client:   netip.MustParseAddrPort("10.0.0.1:40000"),
		Server:   netip.AddrPortFrom(netip.Addr{}, 80),
		Raw:      m.Raw,
		Exchange: m.Exchange,
	}
	if string(m.Raw) != get || m.Exchange.Method != "GET" || m.Exchange.ID.String() != "9c4000500a00000100001388" {
		t.Errorf("raw %q, method %q, id %v", m.Raw, m.Exchange.Method, m.Exchange.ID)
	}
	if m.Kind != want.Kind || m.Proto != want.Proto || m.Flags != 0 || m.Hop != 1 || m.WireLen != want.WireLen ||
		m.Start != want.Start || m.End != want.End || m.Client != want.Client || m.Server != want.Server || !m.Due.IsZero() {
		t.Errorf("got  %+v\nwant %+v", *m, want)
	}
}

func TestReaderHeaders(t *testing.T) {
	ours := kagami.MakeID(netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80"), 5000, 3, 1700000000).String()
	for _, tc := range []struct {
		name, header string
		id           string // "" for any
		latency      time.Duration
		client       string // "" for none
	}{
		{"no latency, as GoReplay 1 wrote it", "1 9c4000500a00000100001388 1700000000000000001", "9c4000500a00000100001388", 0, "10.0.0.1:40000"},
		{"latency not known", "1 9c4000500a00000100001388 1700000000000000001 -1", "9c4000500a00000100001388", 0, "10.0.0.1:40000"},
		{"latency that is no number", "1 9c4000500a00000100001388 1700000000000000001 x", "9c4000500a00000100001388", 0, "10.0.0.1:40000"},
		{"a field more", "1 9c4000500a00000100001388 1700000000000000001 7 8", "9c4000500a00000100001388", 7, "10.0.0.1:40000"},
		{"our id", "1 " + ours + " 1700000000000000001 7", ours, 7, "10.0.0.1:40000"},
		{"our id, the answer a minute later", "2 " + ours + " 1700000060000000001 7", ours, 7, "10.0.0.1:40000"},
		{"40 digits made by hashing", "1 da39a3ee5e6b4b0d3255bfef95601890afd80709 1700000000000000001 7", "da39a3ee5e6b4b0d3255bfef95601890afd80709", 7, ""},
		{"upper case", "1 9C4000500A00000100001388 1700000000000000001 7", "9c4000500a00000100001388", 7, "10.0.0.1:40000"},
		{"not hexadecimal", "1 request-17 1700000000000000001 7", "", 7, ""},
		{"longer than an ID can be", "1 " + strings.Repeat("ab", 32) + " 1700000000000000001 7", "", 7, ""},
		{"staging's answer", "3 9c4000500a00000100001388 1700000000000000001 7", "9c4000500a00000100001388", 7, "10.0.0.1:40000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			payload := get
			if tc.header[0] != '1' {
				payload = ok
			}
			record := tc.header + "\n" + payload + sep
			messages, err := readAll(strings.NewReader(record + record))
			if err != io.EOF || !equal(raws(messages), []string{payload, payload}) {
				t.Fatalf("%q, %v", raws(messages), err)
			}
			m := messages[0]
			if tc.id != "" && m.Exchange.ID.String() != tc.id {
				t.Errorf("id %v, want %s", m.Exchange.ID, tc.id)
			}
			if m.Exchange.ID.IsZero() || m.Exchange.ID != messages[1].Exchange.ID {
				t.Errorf("ids %v and %v: want the same", m.Exchange.ID, messages[1].Exchange.ID)
			}
			if d := m.End.Sub(m.Start); d != tc.latency {
				t.Errorf("latency %v, want %v", d, tc.latency)
			}
			client := ""
			if m.Client.IsValid() {
				client = m.Client.String()
			}
			if client != tc.client {
				t.Errorf("client %q, want %q", client, tc.client)
			}
			if m.Kind != kagami.Kind(tc.header[0]-'0') {
				t.Errorf("kind %v", m.Kind)
			}
		})
	}
}

// What is in a record, framed by HTTP and not by HTTP, on its own and among others.
func TestReaderFraming(t *testing.T) {
	forged := "line1" + sep + head + "DELETE /all HTTP/1.1\r\n\r\n" + sep + "line3"
	answer := strings.Replace(head, "1 ", "2 ", 1)
	for _, tc := range []struct {
		name    string
		records []string // header and payload
		flags   kagami.Flags
		proto   kagami.Proto // 0 for HTTP1
	}{
		{"no body", []string{head + get}, 0, 0},
		{"a body with a record in it", []string{head + "POST / HTTP/1.1\r\nContent-Length: " + itoa(len(forged)) + "\r\n\r\n" + forged}, 0, 0},
		{"a chunk with a record in it", []string{head + "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" +
			hex(len(forged)) + "\r\n" + forged + "\r\n0\r\n\r\n"}, 0, 0},
		{"an answer with a record in it", []string{answer + "HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(forged)) + "\r\n\r\n" + forged}, 0, 0},
		{"HEAD and its answer", []string{
			head + "HEAD / HTTP/1.1\r\n\r\n", answer + "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"}, 0, 0},
		{"GET with the id of a HEAD before", []string{
			head + "HEAD / HTTP/1.1\r\n\r\n", answer + "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
			head + get, answer + "HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(forged)) + "\r\n\r\n" + forged}, 0, 0},
		{"an answer without body by its status", []string{answer + "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n"}, 0, 0},
		{"an interim answer before the final one", []string{answer + "HTTP/1.1 100 Continue\r\n\r\n" + ok}, 0, 0},
		{"an interim answer before one with a record in it", []string{answer + "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(forged)) + "\r\n\r\n" + forged}, 0, 0},
		{"an interim answer alone", []string{answer + "HTTP/1.1 100 Continue\r\n\r\n"}, 0, 0},
		{"an answer that ends with its connection", []string{answer + "HTTP/1.0 200 OK\r\n\r\nall" + sep + "of it"}, 0, 0},
		{"the answer to a HEAD that was not recorded", []string{answer + "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"}, kagami.Incomplete, 0},
		{"cut body", []string{head + "POST / HTTP/1.1\r\nContent-Length: 4000\r\n\r\nabc"}, kagami.Incomplete, 0},
		{"cut head", []string{head + "GET / HTTP/1.1\r\nHos"}, kagami.Incomplete, 0},
		{"more than the framing says", []string{head + "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcdef"}, kagami.Ambiguous, 0},
		{"bad chunks", []string{head + "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz"}, kagami.Ambiguous, 0},
		{"two lengths", []string{head + "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"}, kagami.Ambiguous, 0},
		{"not HTTP", []string{head + "\x16\x03\x01\x00\xa5\x01\n\n\x00" + sep + "\x00"}, 0, kagami.Binary},
		{"nothing", []string{head}, kagami.Incomplete, 0},
		{"a large body", []string{head + "POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("0123456789"+sep[:9], 3000000/19+1)[:3000000]}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want []string
			for _, r := range tc.records {
				want = append(want, r[strings.Index(r, "\n")+1:])
			}
			alone := strings.Join(tc.records, sep) + sep
			messages, err := readAll(strings.NewReader(alone))
			if err != io.EOF || !equal(raws(messages), want) {
				t.Fatalf("%.300q, %v\nwant %.300q", raws(messages), err, want)
			}
			last := messages[len(messages)-1]
			if last.Flags != tc.flags || last.Proto != max(tc.proto, kagami.HTTP1) {
				t.Errorf("flags %b, proto %v: want %b, %v", last.Flags, last.Proto, tc.flags, max(tc.proto, kagami.HTTP1))
			}

			if method, _, _ := strings.Cut(tc.records[len(tc.records)-1], " HTTP/"); strings.HasPrefix(method, head) && last.Proto == kagami.HTTP1 {
				if want, _, _ := strings.Cut(method[len(head):], " "); last.Exchange.Method != want {
					t.Errorf("method %q, want %q", last.Exchange.Method, want)
				}
			}

			first, end := head+get+sep, strings.Replace(head, "1388", "1389", 1)+"PUT /end HTTP/1.1\r\nContent-Length: 1\r\n\r\n." // no separator
			want = append(append([]string{get}, want...), end[strings.Index(end, "\n")+1:])
			for name, src := range map[string]io.Reader{
				"at once":   strings.NewReader(first + alone + end),
				"in halves": iotest.HalfReader(strings.NewReader(first + alone + end)),
				"bytewise":  iotest.OneByteReader(strings.NewReader(first + alone + end)),
				"EOF early": iotest.DataErrReader(strings.NewReader(first + alone + end)),
			} {
				if len(alone) > 1<<20 && name == "bytewise" {
					continue
				}
				if messages, err := readAll(src); err != io.EOF || !equal(raws(messages), want) {
					t.Errorf("among others, %s: %.300q, %v\nwant %.300q", name, raws(messages), err, want)
				}
			}
		})
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hex(n/16) + hex(n%16)
}

// The answer to a HEAD ends with its head, separator or not.
func TestReaderAnswerToHeadAtTheEnd(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
	messages, err := readAll(strings.NewReader(head + "HEAD / HTTP/1.1\r\n\r\n" + sep + "2" + head[1:] + answer))
	if err != io.EOF || len(messages) != 2 || string(messages[1].Raw) != answer || messages[1].Flags != 0 {
		t.Errorf("%q, %v", raws(messages), err)
	}
}

// The memory of HEAD requests is bounded: the oldest are forgotten.
func TestReaderForgetsHEAD(t *testing.T) {
	const n = 65536 + 10
	var file []byte
	id := func(i int) string { return "9c4000500a000001" + string(hex8(i)) }
	for i := range n {
		file = append(file, "1 "+id(i)+" 1 0\nHEAD / HTTP/1.1\r\n\r\n"+sep...)
	}
	for _, i := range []int{9, 10} {
		file = append(file, "2 "+id(i)+" 1 0\nHTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+sep...)
	}
	messages, err := readAll(bytes.NewReader(file))
	if err != io.EOF || len(messages) != n+2 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	if a, b := messages[n].Flags, messages[n+1].Flags; a != kagami.Incomplete || b != 0 {
		t.Errorf("flags %b and %b: want the first to be forgotten, and so to seem incomplete", a, b)
	}
}

func hex8(n int) []byte {
	s := hex(n)
	return []byte(strings.Repeat("0", 8-len(s)) + s)
}

func TestReaderUnknownKindsArePassedOver(t *testing.T) {
	r := gor.NewReader(strings.NewReader("7" + head[1:] + "what" + sep + head + get + sep + "0" + head[1:] + sep))
	messages, err := drain(r)
	if err != io.EOF || !equal(raws(messages), []string{get}) || r.Unknown() != 2 {
		t.Errorf("%q, %v, %d unknown: want one, and two unknown", raws(messages), err, r.Unknown())
	}
}

func TestReaderTrailingLineEnds(t *testing.T) {
	for _, tail := range []string{"", "\n", "\r\n\r\n", "\n\n\n"} {
		// Of the second record the framing does not tell the end.
		file := head + get + sep + strings.Replace(head, "1", "2", 1) + "HTTP/1.0 200 OK\r\n\r\nall" + sep + tail
		messages, err := readAll(strings.NewReader(file))
		if err != io.EOF || !equal(raws(messages), []string{get, "HTTP/1.0 200 OK\r\n\r\nall"}) {
			t.Errorf("tail %q: %q, %v", tail, raws(messages), err)
		}
	}
}

// A recording that ends anywhere gives all records that are whole. Where it ends
// right behind a separator in a body, nobody can tell it from a recording of a
// message that was itself cut short.
func TestReaderCutAnywhere(t *testing.T) {
	post := "POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n" + "0123" + sep + "8" + strings.Repeat("9", 21)
	records := []string{head + get + sep, head + post + sep, "2" + head[1:] + ok + sep}
	file := strings.Join(records, "")
	misleading := len(records[0]) + strings.Index(records[1], sep) + len(sep)
	for n := 1; n <= len(file); n++ {
		if n == misleading || n == misleading+1 {
			continue
		}
		var want []string
		start, rest := 0, n
		for _, r := range records {
			if rest < len(r)-len(sep) {
				break
			}
			want = append(want, r[len(head):len(r)-len(sep)])
			start += len(r)
			rest -= len(r)
		}
		messages, err := readAll(strings.NewReader(file[:n]))
		var format *gor.FormatError
		var damage *gor.DamageError
		switch {
		case n < 2:
			if !errors.As(err, &format) {
				t.Errorf("%q: %v, want a FormatError", file[:n], err)
			}
		case rest <= 0:
			if err != io.EOF {
				t.Errorf("cut at %d, between records: %v", n, err)
			}
		case !errors.As(err, &damage) || damage.Offset != int64(start) || damage.Records != 1 || !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("cut at %d: %v; want damage at byte %d", n, err, start)
		}
		if !equal(raws(messages), want) {
			t.Errorf("cut at %d: %q, want %q", n, raws(messages), want)
		}
	}
}

func TestReaderDamage(t *testing.T) {
	good, close10 := head+get+sep, "2"+head[1:]+"HTTP/1.0 200 OK\r\n\r\nall"+sep
	junk := strings.Repeat("\x00\xff junk\n", 100_000) // more than the usual buffer
	for _, tc := range []struct {
		name, file string
		messages   int
		offset     int
		records    int
		err        error
	}{
		{"a header in the middle", good + "x" + good[1:] + good, 2, len(good), 1, gor.ErrHeader},
		{"the last header, behind one that only a separator ends", good + close10 + "x" + good[1:60], 2, len(good + close10), 1, gor.ErrHeader},
		{"the last header", good + "x" + good[1:], 1, len(good), 1, gor.ErrHeader},
		{"the first header", "x" + good[1:] + good + good, 2, 0, 1, gor.ErrHeader},
		{"junk at the start", junk + sep + good, 1, 0, 1, gor.ErrHeader},
		{"junk in the middle", good + junk + sep + good, 2, len(good), 1, gor.ErrHeader},
		{"junk at the end", good + junk, 1, len(good), 1, gor.ErrHeader},
		{"two headers in a row", good + "x" + good[1:] + "x" + good[1:] + good, 2, len(good), 1, gor.ErrHeader},
		{"two headers apart", good + "x" + good[1:] + good + "x" + good[1:] + good, 3, len(good), 2, gor.ErrHeader},
		{"a header and the end", good + "x" + good[1:] + good + good[:60], 2, len(good), 2, gor.ErrHeader},
		{"a header of one field", good + "1" + sep + good, 2, len(good), 1, gor.ErrHeader},
		{"a header without a number", good + strings.Replace(good, "17000", "17O00", 1) + good, 2, len(good), 1, gor.ErrHeader},
		{"a header cut at the end", good + head[:20], 1, len(good), 1, io.ErrUnexpectedEOF},
		{"a header without an end", good + "1 " + strings.Repeat("a", 5000) + sep + good, 2, len(good), 1, gor.ErrHeader},
		{"a record larger than allowed", good + head + strings.Repeat("x", 2<<20) + sep + good, 2, len(good), 1, gor.ErrTooLarge},
		{"a message larger than allowed", good + head + "PUT / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 2000000) + sep + good, 2, len(good), 1, gor.ErrTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, src := range map[string]io.Reader{
				"at once":   strings.NewReader(tc.file),
				"in halves": iotest.HalfReader(strings.NewReader(tc.file)),
			} {
				r := gor.NewReader(src)
				r.MaxRecord = 1 << 20
				messages, err := drain(r)
				var damage *gor.DamageError
				if !errors.As(err, &damage) {
					t.Fatalf("%s: %v, want a DamageError", name, err)
				}
				if len(messages) != tc.messages || damage.Offset != int64(tc.offset) || damage.Records != tc.records || !errors.Is(err, tc.err) {
					t.Errorf("%s: %d messages, %v (%d records at %d)\nwant %d, %v (%d at %d)", name,
						len(messages), err, damage.Records, damage.Offset, tc.messages, tc.err, tc.records, tc.offset)
				}
				for _, m := range messages {
					if s := string(m.Raw); s != get && s != close10[len(head):len(close10)-len(sep)] {
						t.Errorf("%s: %.200q", name, s)
					}
				}
				if r.Offset() != int64(len(tc.file)) {
					t.Errorf("%s: offset %d at the end of %d bytes", name, r.Offset(), len(tc.file))
				}
			}
		})
	}
}

// The reader underneath can fail too, as that of a damaged gzip file does.
func TestReaderOfABrokenSource(t *testing.T) {
	good := head + get + sep
	broken := errors.New("the disk is gone")
	for _, tc := range []struct {
		name, file       string
		messages, offset int
	}{
		{"at the start", "", 0, 0},
		{"between records", good, 1, len(good)},
		{"in a header", good + head[:10], 1, len(good)},
		{"in a payload", good + good[:60], 1, len(good)},
		{"in a separator", good + good[:len(good)-3], 2, 2*len(good) - 3},
	} {
		messages, err := readAll(io.MultiReader(strings.NewReader(tc.file), iotest.ErrReader(broken)))
		var damage *gor.DamageError
		if !errors.As(err, &damage) || !errors.Is(err, broken) || len(messages) != tc.messages ||
			damage.Offset != int64(tc.offset) || damage.Records != 1 {
			t.Errorf("%s: %d messages, %v (%+v); want %d, damage at %d", tc.name, len(messages), err, damage, tc.messages, tc.offset)
		}
	}
	if _, err := readAll(iotest.ErrReader(nil)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that never reads: %v", err)
	}
}

func TestReaderNotARecording(t *testing.T) {
	for _, tc := range []struct{ name, file, found string }{
		{"pcap", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 100), "pcap file"},
		{"pcapng", "\x0a\x0d\x0d\x0a\x1c\x00\x00\x00" + strings.Repeat("\x00", 100), "pcapng"},
		{"gzip", "\x1f\x8b\x08\x00" + strings.Repeat("\x01", 100), "gzip"},
		{"a response", ok, "HTTP response"},
		{"a request", get, `"GET /a?b=c`},
		{"JSON", `{"a":1}`, "JSON"},
		{"a program", "\x7fELF\x02\x01\x01", "program"},
		{"noise", "\x00\x01\x02\x03", "00 01 02 03"},
		{"much noise", strings.Repeat("\x00\x01\x02\x03", 1<<20), "00 01 02 03"},
	} {
		messages, err := readAll(strings.NewReader(tc.file))
		var format *gor.FormatError
		if len(messages) != 0 || !errors.As(err, &format) || !strings.Contains(err.Error(), tc.found) {
			t.Errorf("%s: %d messages, %v; want a FormatError with %q", tc.name, len(messages), err, tc.found)
		}
	}
	if messages, err := readAll(strings.NewReader("")); len(messages) != 0 || err != io.EOF {
		t.Errorf("an empty file: %d messages, %v; want io.EOF", len(messages), err)
	}
}

// Recordings that GoReplay itself made can be put in a directory named by
// KAGAMI_GOR_SAMPLES. Written again, they are the same.
func TestReaderGoReplaySamples(t *testing.T) {
	dir := os.Getenv("KAGAMI_GOR_SAMPLES")
	if dir == "" {
		t.Skip("KAGAMI_GOR_SAMPLES does not name a directory with recordings")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.gor*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s (%v)", dir, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if raw, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		messages, err := readAll(bytes.NewReader(raw))
		if err != io.EOF {
			t.Errorf("%s: %v", file, err)
		}
		var again []byte
		count := map[kagami.Kind]int{}
		for _, m := range messages {
			count[m.Kind]++
			if m.Flags != 0 || m.Proto != kagami.HTTP1 {
				t.Errorf("%s: flags %b, proto %v of %.60q", file, m.Flags, m.Proto, m.Raw)
			}
			again = gor.Append(again, m)
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("%s: written again it is different", file)
		}
		t.Logf("%s: %v", filepath.Base(file), count)
	}
}
