//go:build cgo

package live_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"kagami/capture/live"
	"kagami/internal/testbed"
)

// BenchmarkRootIdle is what a capture costs where nothing happens: of a core, in
// per cent, and in voluntary switches a second. An operation is 100 ms.
func BenchmarkRootIdle(b *testing.B) {
	here, _ := testbed.Pair(b)
	s := open(b, here, live.Config{Interface: "veth", Filter: "tcp port 1"})
	ended := make(chan error)
	go func() {
		_, err := s.Next()
		ended <- err
	}()
	var before, after syscall.Rusage
	b.ResetTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	time.Sleep(time.Duration(b.N) * 100 * time.Millisecond)
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	b.StopTimer()
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(100*cpu.Seconds()/b.Elapsed().Seconds(), "%core")
	b.ReportMetric(float64(after.Nvcsw-before.Nvcsw)/b.Elapsed().Seconds(), "switches/s")
	s.Close()
	<-ended
}

// BenchmarkRootNext is what it costs to take a packet out of a full buffer.
func BenchmarkRootNext(b *testing.B) {
	const atOnce = 5000
	for _, size := range []int{100, 1000} {
		b.Run(map[int]string{100: "100B", 1000: "1000B"}[size], func(b *testing.B) {
			ns := testbed.NewNetns(b)
			s := open(b, ns, live.Config{Interface: "lo", Filter: "udp", BufferSize: 64 << 20})
			var l, c net.Conn
			ns.Do(b, func() (err error) {
				if l, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
					return err
				}
				c, err = net.Dial("udp", l.LocalAddr().String())
				return err
			})
			defer l.Close()
			defer c.Close()
			data := make([]byte, size)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				b.StopTimer()
				for range atOnce {
					if _, err := c.Write(data); err != nil {
						b.Fatal(err)
					}
				}
				time.Sleep(30 * time.Millisecond) // until the kernel hands the last block over
				b.StartTimer()
				for range atOnce {
					if _, err := s.Next(); err != nil {
						b.Fatal(err)
					}
				}
				n += atOnce
			}
		})
	}
}
