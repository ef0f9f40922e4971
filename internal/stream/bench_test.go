package stream_test

import (
	"bytes"
	"io"
	"testing"

	"kagami"
	"kagami/internal/stream"
)

// The records of these benchmarks have 400 bytes; an op is a record.

func BenchmarkEncode(b *testing.B) {
	m := request(1)
	var batch stream.Builder
	batch.Reset(make([]byte, 0, 256<<10))
	size := len(stream.AppendRecord(nil, m))
	b.SetBytes(int64(size))
	b.ReportMetric(float64(size), "bytes/record")
	b.ReportAllocs()
	for b.Loop() {
		if !batch.Takes(m, 64<<10, stream.Limits{}) {
			batch.Reset(batch.Finish(1))
		}
		batch.Add(m)
	}
}

// BenchmarkDecode is what the replayer does for a record of a batch of 160:
// check the sum, make Message and Exchange.
func BenchmarkDecode(b *testing.B) {
	const n = 160
	wire := batch(1, requests(n)...)
	b.SetBytes(int64(len(wire) / n))
	b.ReportAllocs()
	left := 0
	for b.Loop() {
		if left == 0 {
			left = n
			body := append([]byte(nil), wire...) // the allocation that the messages share
			if _, _, _, err := stream.ParseBatch(body, stream.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
		left--
	}
}

func BenchmarkFileRead(b *testing.B) {
	const n = 10000
	file := write(b, requests(n))
	b.SetBytes(int64(len(file) / n))
	b.ReportAllocs()
	var r *stream.FileReader
	for b.Loop() {
		if r == nil {
			r, _ = stream.NewFileReader(bytes.NewReader(file))
		}
		if _, err := r.Next(); err == io.EOF {
			r = nil
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

func requests(n int) []*kagami.Message {
	ms := make([]*kagami.Message, n)
	for i := range ms {
		ms[i] = request(i)
	}
	return ms
}
