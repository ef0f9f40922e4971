package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"kagami"
	"kagami/internal/http1"
	"kagami/output"
)

// A dryRun stands in for an output and says what that would be sent.
type dryRun struct {
	w  io.Writer
	to string
}

var _ output.Output = (*dryRun)(nil)

func newDryRun(w io.Writer, cfg OutputConfig) *dryRun {
	to := cfg.Address
	if to == "" {
		to = string(cfg.Kind)
	}
	return &dryRun{w: w, to: to}
}

// Write prints a line for each message, and settles it as a dry run.
func (d *dryRun) Write(_ context.Context, b kagami.Batch) error {
	w := bufio.NewWriter(d.w)
	for _, m := range b.Messages {
		first := string(http1.Method(m.Raw)) + " " + string(http1.Target(m.Raw))
		switch {
		case m.Proto == kagami.WebSocket:
			first = "a frame of a WebSocket"
		case m.Kind != kagami.Request:
			first = m.Kind.String()
		}
		fmt.Fprintf(w, "would send to %s: %s (%d bytes, %s)\n", d.to, first, len(m.Raw), m.Exchange.ID)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.DoneAll(kagami.DryRun)
	return nil
}

func (d *dryRun) Close() error { return nil }
