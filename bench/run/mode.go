//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kagami"
)

// A mode is one way to mirror, or none.
type mode struct {
	name  string
	start func(b *bed, share float64, flags ...string) (*listener, error) // nil: nothing to start
	port  func(share float64) int                                         // where the load goes; nil: port
}

func (m mode) url(share float64) int {
	if m.port != nil {
		return m.port(share)
	}
	return port
}

// The interface that clients come in by, and where replayers take streams in.
const (
	device      = "eth0"
	kagamiPort  = "28020"
	gorPort     = "28021"
	nullPort    = "28022"
	idlePortTCP = "28023"
	stagingURL  = "http://" + stagingIP + ":8080"
	idleURL     = "http://" + stagingIP + ":8081"
	settle      = 200 * time.Millisecond // for a process to have read its own pages
	warmUp      = time.Second            // before a listener is watched
	gorPatience = 5 * time.Second        // some versions do not end when they are asked to
)

var (
	none  = mode{name: "none"}
	floor = mode{name: "floor", start: func(b *bed, share float64, _ ...string) (*listener, error) {
		p, err := start(b.hosts.production, productionCPU, "capturing", b.floor, "-interface", device, "-port", fmt.Sprint(port), "-share", fmt.Sprint(share))
		time.Sleep(settle)
		return &listener{process: p}, err
	}}
	oneProcess = mode{name: "http", start: func(b *bed, share float64, flags ...string) (*listener, error) {
		return b.listen("--output-http", suffixed(stagingURL, share), flags)
	}}
	responses = mode{name: "http-responses", start: func(b *bed, share float64, flags ...string) (*listener, error) {
		return b.listen("--output-http", suffixed(stagingURL, share), append(flags, "--input-raw-track-response"))
	}}
	tcpByRequest    = mode{name: "tcp-request", start: streaming("request", "")}
	tcpByConnection = mode{name: "tcp-connection", start: streaming("connection", "")}
	// As if replayer and staging had processors of their own: they have the client's while it does not want it.
	requestYielding    = mode{name: "tcp-request-yielding", start: streaming("request", "idle")}
	connectionYielding = mode{name: "tcp-connection-yielding", start: streaming("connection", "idle")}
	httpYielding       = mode{name: "http-yielding", start: func(b *bed, share float64, flags ...string) (*listener, error) {
		return b.listen("--output-http", suffixed(idleURL, share), flags)
	}}
	tcpToNull = mode{name: "tcp-request-null", start: streaming("request", "null")} // whose replayer only receives
	toFile    = mode{name: "file", start: func(b *bed, share float64, flags ...string) (*listener, error) {
		path := filepath.Join(b.dir, "recorded.gor")
		l, err := b.listen("--output-file", suffixed(path, share), flags)
		if err == nil {
			l.leaves = path
		}
		return l, err
	}}
	nginxMirror = mode{name: "nginx-mirror", port: func(share float64) int { return mirrorPort + int(share) }}
	gorHTTP     = mode{name: "gor-http", start: func(b *bed, share float64, _ ...string) (*listener, error) {
		return b.startGor("--output-http", suffixed(stagingURL, share))
	}}
	gorTCP = mode{name: "gor-tcp", start: func(b *bed, share float64, _ ...string) (*listener, error) {
		address := stagingIP + ":" + gorPort
		err := b.replayer("gor", func() (*process, error) {
			return start(b.hosts.staging, otherCPU, "Version", b.gor, "--input-tcp", address, "--output-http", stagingURL)
		})
		if err != nil {
			return nil, err
		}
		return b.startGor("--output-tcp", suffixed(address, share))
	}}
)

// suffixed is an address with a share, in the grammar of both programs.
func suffixed(address string, share float64) string {
	if share >= 100 {
		return address
	}
	return fmt.Sprintf("%s|%g%%", address, share)
}

// streaming starts a listener that streams to a replayer, which sends what it gets to
// staging, to the one that yields (idle) or to null; by default, where the flags say.
func streaming(by, to string) func(b *bed, share float64, flags ...string) (*listener, error) {
	return func(b *bed, share float64, flags ...string) (*listener, error) {
		address, output, start := stagingIP+":"+kagamiPort, []string{"--output-http", stagingURL}, start
		switch {
		case to == "null" || to == "" && b.replayerTo == "null":
			address, output = stagingIP+":"+nullPort, []string{"--output-null"}
		case to == "idle":
			address, output, start = stagingIP+":"+idlePortTCP, []string{"--output-http", idleURL}, startIdle
		}
		err := b.replayer(address, func() (*process, error) {
			return start(b.hosts.staging, otherCPU, "listening", b.kagami, append([]string{"replay", "--input-tcp", address, "--insecure"}, output...)...)
		})
		if err != nil {
			return nil, err
		}
		return b.listen("--output-tcp", suffixed(address, share), append(flags, "--insecure", "--sample-by", by))
	}
}

// A listener is what runs beside production in a mode; process is nil where there is
// none.
type listener struct {
	*process
	summary string // the file of its ledger, or ""
	leaves  string // a file to take away, or ""
	within  time.Duration
}

// listen starts kagami.
func (b *bed) listen(output, address string, flags []string) (*listener, error) {
	l := &listener{summary: filepath.Join(b.dir, "summary.json"), within: patience}
	os.Remove(l.summary)
	args := append([]string{"--input-raw", device + ":" + fmt.Sprint(port), output, address, "--summary", l.summary, "--log-format", "json"}, flags...)
	var err error
	l.process, err = start(b.hosts.production, productionCPU, `"capturing"`, b.kagami, args...)
	time.Sleep(settle)
	return l, err
}

func (b *bed) startGor(output, address string) (*listener, error) {
	p, err := start(b.hosts.production, productionCPU, "Version", b.gor, "--input-raw", device+":"+fmt.Sprint(port), output, address)
	time.Sleep(2 * settle) // it does not say when it captures
	return &listener{process: p, within: gorPatience}, err
}

// begin starts a mode's listener.
func (b *bed) begin(m mode, share float64, flags ...string) (*listener, error) {
	if m.start == nil {
		return &listener{}, nil
	}
	l, err := m.start(b, share, flags...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	b.running = l
	return l, nil
}

// An outcome is what became of the requests, by the listener's own ledger.
type outcome struct {
	known     bool
	captured  int64
	delivered int64
	dropped   map[string]int64 // by reason; not what was asked to be left out
	bounded   bool
	balanced  bool
}

// end stops the listener and waits until what it sent is done with.
func (b *bed) end(l *listener) (outcome, error) {
	b.running = nil
	if l.process == nil {
		return outcome{}, b.quiet()
	}
	if l.within == 0 {
		l.within = patience
	}
	err := l.stop(l.within)
	if l.leaves != "" {
		os.Remove(l.leaves)
	}
	if l.summary == "" { // another's: how it ends is not what is measured
		return outcome{}, b.quiet()
	}
	if err != nil {
		b.out.Note("a listener did not end well: %v", err)
	}
	raw, err := os.ReadFile(l.summary)
	if err != nil {
		return outcome{}, err
	}
	var st kagami.Statement
	if err := json.Unmarshal(raw, &st); err != nil {
		return outcome{}, fmt.Errorf("ledger: %w", err)
	}
	return read(st), b.quiet()
}

// read takes an outcome from a ledger.
func read(st kagami.Statement) outcome {
	o := outcome{known: true, dropped: map[string]int64{}, bounded: st.Bounded, balanced: st.Balanced}
	for _, s := range st.Stages {
		switch {
		case s.Unit == kagami.Messages && s.Stage == "capture":
			o.captured = s.In
		case s.Unit == kagami.Messages && s.Stage == "output":
			o.delivered = s.Out
		}
		for reason, n := range s.Dropped {
			wanted := s.Unit == kagami.Messages || reason.String() == "kernel-drop" || reason.String() == "interface-drop"
			if n > 0 && wanted && reason.String() != "sampled-out" {
				o.dropped[reason.String()] += n
			}
		}
	}
	return o
}
