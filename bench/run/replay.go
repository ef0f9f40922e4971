//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kagami"
	"kagami/bench/report"
	"kagami/internal/gor"
)

// replays is what a replay from a file can do: how fast against wrk's rate, both on the same
// processor against the same nginx; and how exactly at a set rate.
func replays(b *bed) error {
	const each = 200_000
	file := filepath.Join(b.dir, "replay.gor")
	if err := record(file, each); err != nil {
		return err
	}
	for range max(1, b.rounds) {
		before, err := b.wrkRate()
		if err != nil {
			return err
		}
		rate, err := b.replayAll(file, each)
		if err != nil {
			return err
		}
		after, err := b.wrkRate()
		if err != nil {
			return err
		}
		b.out.Add("replay", "wrk", 100, "requests/s", after)
		b.out.Add("replay", "max", 100, "requests/s", rate)
		b.out.Add("replay", "max", 100, "to wrk", report.Kept(rate, before, after))
	}
	return b.scheduled(5000, 5*time.Second)
}

// record writes a recording of small requests, each with its number.
func record(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	records := gor.NewWriter(w)
	at := time.Unix(1_700_000_000, 0)
	for i := range n {
		id, err := kagami.IDFromBytes(fmt.Appendf(nil, "%d", i))
		if err != nil {
			return err
		}
		m := &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Exchange: &kagami.Exchange{ID: id, Method: "GET"}, Start: at.Add(time.Duration(i) * time.Millisecond)}
		m.End = m.Start
		m.Raw = fmt.Appendf(nil, "GET %s?n=%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", small, i, stagingIP, port)
		if err := records.Write(m); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// wrkRate is how many requests a second wrk gets from staging, on the processor that replays
// are measured on.
func (b *bed) wrkRate() (float64, error) {
	p, err := startWrkAt(b.hosts.production, productionCPU, stagingURL+small)
	if err != nil {
		return 0, err
	}
	time.Sleep(settle)
	rate, err := b.stagingRate()
	if stopErr := stopWrk(p); err == nil {
		err = stopErr
	}
	return rate, err
}

// stagingRate is how many requests a second staging gets during a slice of time.
func (b *bed) stagingRate() (float64, error) {
	from, err := b.staging.requests()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	time.Sleep(b.slice)
	to, err := b.staging.requests()
	return float64(to-from) / time.Since(began).Seconds(), err
}

// replayAll replays a recording of n requests as fast as it goes, from the start of the
// process to its end.
func (b *bed) replayAll(file string, n int64) (rate float64, err error) {
	from, err := b.staging.requests()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	p, err := b.replayed("--input-file", file+"|max")
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	to, err := b.staging.requests()
	if err != nil {
		return 0, err
	}
	state := p.cmd.ProcessState
	b.out.Add("replay", "max", 100, "CPU µs/request", float64((state.UserTime()+state.SystemTime()).Microseconds())/float64(n))
	b.out.Add("replay", "max", 100, "arrived", float64(to-from)/float64(n))
	return float64(n) / took.Seconds(), nil
}

// replayed runs a replay to staging to its end.
func (b *bed) replayed(args ...string) (*process, error) {
	args = append([]string{"replay", "--output-http", stagingURL, "--log-format", "json"}, args...)
	p, err := start(b.hosts.production, productionCPU, "", b.kagami, args...)
	if err != nil {
		return nil, err
	}
	<-p.ended
	if p.err != nil {
		return nil, fmt.Errorf("%s: %w: %s", p.name, p.err, p.output.String())
	}
	return p, nil
}
