package main

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"kagami"
)

// A progressLine shows how a long piece of work goes on: one line that is
// written over on a terminal, or a line every so often where statistics were
// asked for.
type progressLine struct {
	w        io.Writer
	every    time.Duration
	terminal bool
	ledger   *kagami.Ledger
	files    func() (done, total int64) // of recordings, 0 where there are none

	began    time.Time
	lastTime time.Time
	lastOut  int64
	width    int
}

// run writes the line until ctx is done, then wipes it.
func (p *progressLine) run(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	p.began = time.Now()
	p.lastTime = p.began
	for {
		select {
		case now := <-tick.C:
			p.write(p.text(now))
		case <-ctx.Done():
			if p.terminal && p.width > 0 {
				fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
			}
			return
		}
	}
}

func (p *progressLine) write(text string) {
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	pad := max(0, p.width-len(text))
	fmt.Fprintf(p.w, "\r%s%*s", text, pad, "")
	p.width = len(text)
}

// text is the line: rate, in, delivered, dropped by reason, and of files how
// far and how long.
func (p *progressLine) text(now time.Time) string {
	var in, out, queued, settled int64
	dropped := map[kagami.Reason]int64{}
	for _, s := range p.ledger.Stages() {
		if s.Unit != kagami.Messages {
			continue
		}
		st := s.Statement()
		switch s.Name {
		case "filter":
			in += st.In
		case "output":
			out += st.Out
			queued += st.In
			settled += st.Out + st.DroppedTotal()
		}
		for r, n := range st.Dropped {
			dropped[r] += n
		}
	}
	seconds := now.Sub(p.lastTime).Seconds()
	rate := float64(out-p.lastOut) / max(seconds, 1e-3)
	p.lastTime, p.lastOut = now, out
	text := fmt.Sprintf("%d in, %d delivered (%.0f/s)", in, out, rate)
	if d := droppedText(dropped); d != "" {
		text += ", dropped: " + d
	}
	return text + filesText(p.files, float64(settled)/float64(max(queued, 1)), now.Sub(p.began))
}

func droppedText(dropped map[kagami.Reason]int64) string {
	var parts []string
	for r, n := range dropped {
		parts = append(parts, fmt.Sprintf("%s %d", r, n))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

// filesText says how much of the files has been sent: the part that was read,
// times the part of that which has left the queues; and, if that goes on as it did
// so far, how long the rest takes.
func filesText(files func() (int64, int64), settled float64, so time.Duration) string {
	done, total := files()
	if total <= 0 {
		return ""
	}
	part := min(float64(done)/float64(total), 1) * settled
	if part == 0 {
		return ", 0% sent"
	}
	left := time.Duration(float64(so) * (1 - part) / part)
	return fmt.Sprintf(", %.0f%% sent, about %s left", part*100, left.Round(time.Second))
}
