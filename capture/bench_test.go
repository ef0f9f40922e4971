//go:build unix

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"syscall"
	"testing"
	"time"

	"kagami"
)

// recorded is a pcap file (Ethernet, µs) of the trace's packets.
func (tr *trace) recorded() []byte {
	var b bytes.Buffer
	for _, v := range []any{uint32(0xa1b2c3d4), uint16(2), uint16(4), uint32(0), uint32(0), uint32(262144), uint32(linkEthernet)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	for _, p := range tr.packets {
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.Time.Unix())))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.Time.Nanosecond()/1000)))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p.Data)+14)))
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.WireLen+14)))
		b.Write([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
		b.Write(p.Data)
	}
	return b.Bytes()
}

// cpuTime is the CPU time that the process has used, for the machine may be
// busy with something else.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkFile(b *testing.B, file []byte, cfg Config) (requests int) {
	f, err := NewFile(bytes.NewReader(file))
	if err != nil {
		b.Fatal(err)
	}
	l, err := New(cfg, f)
	if err != nil {
		b.Fatal(err)
	}
	err = l.Run(b.Context(), func(_ context.Context, batch kagami.Batch) error {
		for _, m := range batch.Messages {
			if m.Kind == kagami.Request {
				requests++
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return requests
}
