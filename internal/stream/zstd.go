package stream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A Compressor compresses batches with zstd (RFC 8878), each by itself, so that
// any can be read without those before. It is not for use from several goroutines at once.
type Compressor struct{ encoder *zstd.Encoder }

// compressWindow is how far back the encoder looks, in bytes. It bounds its memory; batches
// are rarely larger.
const compressWindow = 256 << 10

// NewCompressor returns a Compressor, which keeps about a megabyte of memory.
func NewCompressor() (*Compressor, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(compressWindow), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	return &Compressor{e}, err
}

// Compress returns the finished batch compressed, in the memory of buf where that is large
// enough. It returns the batch itself where compressing does not make it smaller.
func (c *Compressor) Compress(buf, batch []byte) []byte {
	if batch[5]&flagZstd != 0 {
		return batch
	}
	buf = append(buf[:0], batch[:BatchHead]...)
	buf = c.encoder.EncodeAll(batch[BatchHead:], buf)
	if len(buf) >= len(batch) {
		return batch
	}
	buf[5] |= flagZstd
	binary.BigEndian.PutUint32(buf[20:], uint32(len(buf)-BatchHead))
	sign(buf)
	return buf
}

// sign writes the CRC-32C of a batch into its head.
func sign(batch []byte) {
	sum := crc32.Update(crc32.Checksum(batch[:28], castagnoli), castagnoli, batch[BatchHead:])
	binary.BigEndian.PutUint32(batch[28:], sum)
}

// decoder is made when the first compressed batch is read. It writes no more than the
// caller has room for.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(DefaultMaxBatch), zstd.WithDecoderMaxWindow(DefaultMaxBatch), zstd.WithDecoderLowmem(true))
})

// unpack returns the records in the body of a batch: the body itself, unless it is
// compressed, else h.Size bytes in the memory of buf where that is large enough.
func (h *Head) unpack(body, buf []byte) ([]byte, error) {
	if !h.Compressed {
		return body, nil
	}
	d, err := decoder()
	if err != nil {
		return nil, err
	}
	if cap(buf) < h.Size {
		buf = make([]byte, 0, h.Size)
	}
	records, err := d.DecodeAll(body, buf[:0:h.Size])
	if err != nil {
		return nil, fmt.Errorf("batch that is compressed: %w", err)
	}
	if len(records) != h.Size {
		return nil, fmt.Errorf("batch of %d bytes when unpacked, where its head says %d", len(records), h.Size)
	}
	return records, nil
}
