package gor_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/gor"
)

func TestAppend(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	id := kagami.MakeID(client, server, 5000, 1, 1700000000)
	short, err := kagami.ParseID("9c4000500a00000100001388")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1700000000, 123456789)
	for _, tc := range []struct {
		name string
		m    kagami.Message
		want string
	}{
		{"request", kagami.Message{Kind: kagami.Request, Start: start, End: start.Add(1500), Raw: []byte(get), Exchange: &kagami.Exchange{ID: id}},
			"1 9c4000500a000001000013880000000165" + "53f100 1700000000123456789 1500\n" + get + "\n🐵🙈🙉\n"},
		{"answer", kagami.Message{Kind: kagami.Response, Start: start, End: start, Raw: []byte(ok), Exchange: &kagami.Exchange{ID: short}},
			"2 9c4000500a00000100001388 1700000000123456789 0\n" + ok + "\n🐵🙈🙉\n"},
		{"end not known", kagami.Message{Kind: kagami.Replayed, Start: start, Raw: []byte(ok), Exchange: &kagami.Exchange{ID: short}},
			"3 9c4000500a00000100001388 1700000000123456789 -1\n" + ok + "\n🐵🙈🙉\n"},
		{"nothing known", kagami.Message{Kind: kagami.Request, Exchange: &kagami.Exchange{}}, "1 00 0 0\n\n🐵🙈🙉\n"},
	} {
		if got := string(gor.Append([]byte("before"), &tc.m)); got != "before"+tc.want {
			t.Errorf("%s: %q\nwant %q", tc.name, got, tc.want)
		}
	}
}

func TestWriterWritesRecordByRecord(t *testing.T) {
	m := request(0)
	var calls writes
	w := gor.NewWriter(&calls)
	for range 2 {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(gor.Append(nil, m)); len(calls) != 2 || calls[0] != want || calls[1] != want {
		t.Errorf("%q: want two calls with %q", calls, want)
	}
	broken := errors.New("broken")
	pr, pw := io.Pipe()
	pr.CloseWithError(broken)
	if err := gor.NewWriter(pw).Write(m); err != broken {
		t.Errorf("%v, want the error of the io.Writer", err)
	}
}

// What Holds lets through is read as it was written, whatever it contains.
func TestHolds(t *testing.T) {
	forged := sep + head + "DELETE /all HTTP/1.1\r\n\r\n" + sep
	for _, tc := range []struct {
		name, raw, method string
		kind              kagami.Kind
		want              bool
	}{
		{"no separator", get, "GET", kagami.Request, true},
		{"no HTTP, no separator", "\x00\x01", "", kagami.Request, true},
		{"in a body", "POST / HTTP/1.1\r\nContent-Length: " + itoa(len(forged)) + "\r\n\r\n" + forged, "POST", kagami.Request, true},
		{"in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hex(len(forged)) + "\r\n" + forged + "\r\n0\r\n\r\n", "GET", kagami.Response, true},
		{"in a body that was cut short", "POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n" + forged, "POST", kagami.Request, false},
		{"behind the end", get + forged, "GET", kagami.Request, false},
		{"in a head", "GET / HTTP/1.1\r\nA: b" + forged, "GET", kagami.Request, false},
		{"in a whole head", "GET / HTTP/1.1\r\nA: b" + sep + "C: d\r\n\r\n", "GET", kagami.Request, false},
		{"until the end of the connection", "HTTP/1.0 200 OK\r\n\r\n" + forged, "GET", kagami.Response, false},
		{"in no HTTP", "\x00" + forged, "", kagami.Request, false},
	} {
		m := request(0)
		m.Kind, m.Raw, m.Exchange.Method = tc.kind, []byte(tc.raw), tc.method
		if got := gor.Holds(m); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		if !tc.want {
			continue
		}
		got, err := readAll(bytes.NewReader(gor.Append(gor.Append(nil, m), request(1))))
		if err != io.EOF || len(got) != 2 || string(got[0].Raw) != tc.raw {
			t.Errorf("%s: %q, %v", tc.name, raws(got), err)
		}
	}
}

type writes []string

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, string(b))
	return len(b), nil
}

// request is the i-th of many requests, of about 500 bytes.
func request(i int) *kagami.Message {
	start := time.Unix(1700000000, int64(i)*1000)
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Start: start, End: start.Add(time.Microsecond),
		Raw:      []byte("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nCookie: " + strings.Repeat("x", 440) + "\r\n\r\n"),
		Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, uint32(i), 0, start.Unix())},
	}
}

func FuzzReader(f *testing.F) {
	record := head + get + sep
	f.Add([]byte(record+"2"+head[1:]+ok+sep), 0)
	f.Add([]byte(record+head+"POST / HTTP/1.1\r\nContent-Length: 20\r\n\r\n0123"+sep+"89"+sep), 100)
	f.Add([]byte(record+"x"+record+record[:40]), 0)
	f.Add([]byte(head+"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+sep), 0)
	f.Add([]byte(head+"HEAD / HTTP/1.1\r\n\r\n"+sep+"2"+head[1:]+"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"+sep), 0)
	f.Add([]byte(head+"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"+sep+head+"\x81\x85abcdhello"+sep+"2"+head[1:]+"\x82\x02hi"+sep), 0)
	f.Add([]byte("2 ab 1\nHTTP/1.0 200 OK\r\n\r\nall"+sep+"7 ab 1\n"+sep+"\n\n"), 0)
	f.Fuzz(func(t *testing.T, file []byte, limit int) {
		r := gor.NewReader(bytes.NewReader(file))
		r.MaxRecord = limit
		total, last := 0, int64(0)
		var messages []*kagami.Message
		var err error
		for {
			var m *kagami.Message
			if m, err = r.Next(); err != nil {
				break
			}
			if at := r.Offset(); at <= last || at > int64(len(file)) {
				t.Fatalf("offset %d after %d, in a file of %d bytes", at, last, len(file))
			}
			last = r.Offset()
			total += len(m.Raw)
			messages = append(messages, m)
		}
		if total > len(file) {
			t.Fatalf("%d bytes of messages from a file of %d", total, len(file))
		}
		var damage *gor.DamageError
		if errors.As(err, &damage) && (damage.Offset < 0 || damage.Offset > int64(len(file))) {
			t.Fatalf("damage at %d in a file of %d bytes", damage.Offset, len(file))
		}
		// However the file comes in pieces, it says the same.
		again := gor.NewReader(&pieces{file, 1})
		again.MaxRecord = limit
		for i := 0; ; i++ {
			m, err2 := again.Next()
			if err2 != nil {
				if i != len(messages) || err2.Error() != err.Error() {
					t.Fatalf("%d messages and %v; in pieces %d and %v", len(messages), err, i, err2)
				}
				break
			}
			if i >= len(messages) || !bytes.Equal(m.Raw, messages[i].Raw) || m.Flags != messages[i].Flags || m.Proto != messages[i].Proto {
				t.Fatalf("message %d is different in pieces", i)
			}
		}
	})
}

// pieces reads in pieces of 1, 2, 3 … bytes.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(p.n, len(b))], p.b)
	p.b = p.b[n:]
	p.n++
	return n, nil
}

// FuzzRoundTrip: what was written is read, whatever the payloads are, as long
// as they are whole HTTP messages.
func FuzzRoundTrip(f *testing.F) {
	f.Add("/", []byte("body"), []byte(sep+head+get+sep), int64(5))
	f.Add("/x", []byte(sep[1:]), []byte{}, int64(-5))
	f.Fuzz(func(t *testing.T, path string, one, two []byte, ns int64) {
		if path == "" || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return
		}
		var file []byte
		var want []*kagami.Message
		for i, body := range [][]byte{one, two} {
			m := request(i)
			m.Start = time.Unix(0, ns)
			m.End = m.Start
			m.Raw = []byte("POST " + path + " HTTP/1.1\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + string(body))
			want = append(want, m)
			file = gor.Append(file, m)
		}
		got, err := readAll(bytes.NewReader(file))
		if err != io.EOF || len(got) != 2 {
			t.Fatalf("%d messages, %v", len(got), err)
		}
		for i, m := range got {
			if !bytes.Equal(m.Raw, want[i].Raw) || !m.Start.Equal(want[i].Start) || m.Exchange.ID != want[i].Exchange.ID || m.Exchange.Method != "POST" {
				t.Fatalf("message %d is %+v, want %+v", i, m, want[i])
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var file []byte
	for i := range 1000 {
		file = gor.Append(file, request(i))
	}
	b.SetBytes(int64(len(file) / 1000))
	b.ReportAllocs()
	r := gor.NewReader(bytes.NewReader(nil))
	for b.Loop() {
		m, err := r.Next()
		if err == io.EOF {
			r = gor.NewReader(bytes.NewReader(file))
			m, err = r.Next()
		}
		if err != nil || len(m.Raw) < 400 {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := request(1)
	buf := gor.Append(nil, m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = gor.Append(buf[:0], m)
	}
}
