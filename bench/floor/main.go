//go:build linux

// Command floor captures the packets that a listener would capture, and only counts
// them: what it costs production, no listener that reads packets can undercut.
//
//	floor -interface eth0 -port 8080 -share 10
//
// It prints "capturing" when it does, and at SIGTERM how many packets and bytes it saw.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"kagami/capture"
)

func main() {
	device := flag.String("interface", "eth0", "where to capture")
	port := flag.Uint("port", 8080, "the server's port")
	share := flag.Float64("share", 100, "percent of the connections, chosen in the kernel")
	flag.Parse()
	if err := run(*device, uint16(*port), *share); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(device string, port uint16, share float64) error {
	s, err := open(device, port, share)
	if err != nil {
		return err
	}
	defer s.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		s.Stop()
	}()
	fmt.Println("capturing")
	packets, bytes, err := count(s)
	if err != nil {
		return err
	}
	st, err := s.Stats()
	if err != nil {
		return err
	}
	fmt.Printf("packets %d bytes %d dropped %d\n", packets, bytes, st.KernelDropped)
	return nil
}

// A source is what an engine gives.
type source interface {
	capture.Source
	capture.Statser
	capture.Stopper
	io.Closer
}

func count(s source) (packets, bytes uint64, err error) {
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			return packets, bytes, nil
		}
		if err != nil {
			return 0, 0, err
		}
		packets++
		bytes += uint64(len(p.Data))
	}
}
