package stream_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kagami"
	"kagami/internal/stream"
)

// similar returns n requests to one site, whose records have 400 bytes: 64 clients, each with
// a session of its own, four browsers, paths with a number and a query.
func similar(n int) []*kagami.Message {
	r := rand.New(rand.NewPCG(1, 2))
	browsers := []string{"(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
		"(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", "(iPhone; CPU iPhone OS 17_5 like Mac OS X)"}
	sessions := make([]string, 64)
	for i := range sessions {
		sessions[i] = fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	}
	messages := make([]*kagami.Message, n)
	at := noon
	for i := range messages {
		who := r.IntN(len(sessions))
		at = at.Add(time.Duration(r.IntN(100_000)))
		from := netip.AddrPortFrom(client.Addr(), uint16(40_000+who))
		raw := fmt.Sprintf("GET /products/%d?color=%s&page=%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 %s\r\n"+
			"Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=%s",
			r.IntN(1_000_000), []string{"red", "green", "blue"}[r.IntN(3)], r.IntN(20), browsers[who%4], sessions[who])
		raw += strings.Repeat(" ", max(0, 320-len(raw))) + "\r\n\r\n"
		m := request(i)
		m.Client, m.Start, m.End = from, at, at.Add(time.Duration(r.IntN(50_000)))
		m.Raw, m.WireLen = []byte(raw), len(raw)
		m.Exchange.ID = kagami.MakeID(from, server, r.Uint32(), uint32(i), noon.Unix())
		messages[i] = m
	}
	return messages
}

func compressor(t testing.TB) *stream.Compressor {
	t.Helper()
	c, err := stream.NewCompressor()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// packed returns a batch whose head says that its records have size bytes and which holds
// body, as if compressed.
func packed(records, size uint32, body []byte) []byte {
	b := handmade(0, 1, body)
	b[5] = 1
	binary.BigEndian.PutUint32(b[16:], records)
	binary.BigEndian.PutUint32(b[24:], size)
	return repaired(b)
}

func TestCompressedBatch(t *testing.T) {
	c := compressor(t)
	var buf []byte
	for seq := range uint64(3) { // the encoder and its memory are used again
		plain := batch(seq+1, many()...)
		buf = c.Compress(buf, plain)
		if len(buf) > len(plain)/2 || buf[5] != 1 {
			t.Fatalf("%d bytes of %d, flags %d", len(buf), len(plain), buf[5])
		}
		h, messages, _, err := stream.ParseBatch(buf, stream.Limits{})
		if err != nil || h.Seq != seq+1 || h.Size != len(plain)-stream.BatchHead {
			t.Fatalf("%+v, %v", h, err)
		}
		for i, want := range many() {
			same(t, messages[i], want)
		}
	}
	if twice := c.Compress(nil, buf); &twice[0] != &buf[0] {
		t.Error("compressed what was compressed")
	}
	small := request(1)
	small.Raw = []byte{0x17}
	if b := batch(1, small); &c.Compress(nil, b)[0] != &b[0] {
		t.Error("compressed what does not become smaller")
	}
}

// A batch unpacks to what its head says, which is within the limits, or is refused.
func TestCompressedBatchRefused(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zip := func(n int) []byte { return e.EncodeAll(make([]byte, n), nil) }
	for _, test := range []struct {
		name  string
		batch []byte
		want  string
	}{
		{"bomb of 64 MiB", packed(1, 64<<20, zip(64<<20)), "too large"},
		{"bomb that says it is small", packed(1, 1<<20, zip(64<<20)), "compressed"},
		{"bomb of many frames", packed(1, 1<<20, bytes.Repeat(zip(1<<20), 100)), "compressed"},
		{"bomb of 4 GiB", packed(1, 0xffffffff, zip(1<<20)), "too large"},
		{"more than it says", packed(1, 5000, zip(5001)), "compressed"},
		{"less than it says", packed(1, 5000, zip(4999)), "4999 bytes when unpacked"},
		{"not compressed", packed(1, 5000, bytes.Repeat([]byte("x"), 100)), "compressed"},
		{"larger than its records", packed(1, 20, zip(5000)[:20]), "says its records have 20"},
		{"records that are none", packed(1, 5000, zip(5000)), "record of 0 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, _, err := stream.ParseBatch(test.batch, stream.Limits{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestCompressedFile(t *testing.T) {
	var file, plain bytes.Buffer
	for _, w := range []struct {
		to       *bytes.Buffer
		compress bool
	}{{&file, true}, {&plain, false}} {
		f, err := stream.NewFileWriter(w.to, stream.FileWriterConfig{Compress: w.compress, BatchSize: 4096})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range append(requests(100), many()...) {
			if err := f.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if file.Len() > plain.Len()/4 {
		t.Errorf("%d bytes, %d without compression", file.Len(), plain.Len())
	}
	messages, err := read(bytes.NewReader(file.Bytes()))
	if err != io.EOF || len(messages) != 100+len(many()) {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	for i, want := range append(requests(100), many()...) {
		same(t, messages[i], want)
	}
	messages, err = read(bytes.NewReader(file.Bytes()[:file.Len()-1]))
	var damage *stream.DamageError
	if !errors.As(err, &damage) || len(messages) < 100 {
		t.Errorf("%d messages, %v", len(messages), err)
	}
}

func FuzzCompressed(f *testing.F) {
	plain := batch(1, many()[:5]...)
	f.Add(compressor(f).Compress(nil, plain)[stream.BatchHead:], uint32(5), uint32(len(plain)-stream.BatchHead))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00"), uint32(1), uint32(100))
	f.Fuzz(func(t *testing.T, body []byte, records, size uint32) {
		h, messages, unknown, err := stream.ParseBatch(packed(records, size%(1<<20), body), stream.Limits{})
		if err != nil {
			return
		}
		if len(messages)+unknown != h.Records || h.Size != int(size%(1<<20)) {
			t.Fatalf("%d messages and %d unknown of %+v", len(messages), unknown, h)
		}
		for _, m := range messages {
			again(t, m)
		}
	})
}

// BenchmarkCompress is what compressing a record of 400 bytes in a batch of so many takes;
// the requests are similar, as those of one site are.
func BenchmarkCompress(b *testing.B) {
	for _, n := range []int{1, 10, 64, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			plain := batch(1, similar(n)...)
			c := compressor(b)
			var buf []byte
			left := 0
			for b.Loop() {
				if left == 0 {
					left = n
					buf = c.Compress(buf, plain)
				}
				left--
			}
			b.ReportMetric(float64(len(buf))/float64(n), "wire-B/op")
			b.ReportMetric(float64(len(plain))/float64(n), "plain-B/op")
		})
	}
}
