package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/time/rate"

	"kagami"
	"kagami/filter"
	"kagami/output"
	"kagami/replay"
)

// newMirror opens everything that cfg names. Outputs are opened first, so that
// nothing captured waits for a file that cannot be made; what was opened is
// closed again if something else cannot be.
func newMirror(ctx context.Context, cfg Config) (*mirror, error) {
	m := &mirror{pipeline: newPipeline(string(cfg.Role), cfg.SplitOutput), cfg: cfg, log: cfg.Console.Log}
	m.splitter = splitter{turns: cfg.SplitTurns, byConnection: cfg.KeepOrder, up: map[int]func() bool{}}
	err := m.open(ctx)
	if err != nil {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		err = errors.Join(err, m.shutdown(ended), m.closeInputs(), m.results.close(0), m.comparison.abandon())
		return nil, err
	}
	return m, nil
}

func (m *mirror) open(ctx context.Context) error {
	m.behave()
	shared, err := m.sharedFilter()
	if err != nil {
		return err
	}
	m.comparison = newComparison(&m.cfg, m.log)
	m.results = newResults(&m.cfg, m.log)
	for _, out := range m.cfg.Outputs {
		if err := m.openOutput(ctx, out); err != nil {
			return err
		}
	}
	for _, in := range m.cfg.Inputs {
		if err := m.openInput(ctx, in, shared); err != nil {
			return err
		}
	}
	if err := m.openResults(); err != nil {
		return err
	}
	m.join()
	if err := m.openComparison(); err != nil {
		return err
	}
	if err := m.limitCPU(); err != nil {
		return err
	}
	if m.cfg.Admin != "" {
		m.admin, err = startAdmin(m.cfg.Admin, m.ledger, m.cfg.Pprof, m.healthy, m.log, m.collectors()...)
	}
	return err
}

// sharedFilter is the filter of --http-… flags, which stands before all outputs.
func (m *mirror) sharedFilter() (filter.Chain, error) {
	c := m.cfg.Filters
	c.SafeMethods = m.cfg.SafeMethods
	return filter.New(c)
}

// filters are the rules of one input or output, with its sample among them.
func (m *mirror) filters(rules filter.Config, share *kagami.Share, by string, side kagami.Side) (filter.Chain, error) {
	if share != nil {
		sample, err := filter.NewSample(filter.SampleConfig{Share: *share, By: by, Seed: m.cfg.SampleSeed, Side: side})
		if err != nil {
			return nil, usageError{err}
		}
		rules.Sample = sample
	}
	chain, err := filter.New(rules)
	if err != nil {
		return nil, usageError{err}
	}
	return chain, nil
}

// openInput opens one input and puts its filters behind it: its own, then those
// of all inputs, then its limit.
func (m *mirror) openInput(ctx context.Context, cfg InputConfig, shared filter.Chain) error {
	own := cfg.Filters
	own.RealIPHeader = cfg.Raw.RealIPHeader
	chain, err := m.filters(own, cfg.Share, cfg.SampleBy, kagami.InputSide)
	if err != nil {
		return err
	}
	chain = append(chain, shared...)
	if cfg.Limit > 0 {
		chain = append(chain, newInputLimit(cfg.Limit))
	}
	in, err := m.newInput(ctx, cfg)
	if err != nil {
		return err
	}
	m.addInput(string(cfg.Kind)+" "+cfg.Address, in, chain)
	return nil
}

func (m *mirror) newInput(ctx context.Context, cfg InputConfig) (input, error) {
	switch cfg.Kind {
	case InputRaw:
		return m.newRaw(ctx, cfg)
	case InputTCP:
		return m.newServer(cfg)
	case InputFile:
		return m.newFiles(cfg)
	case InputDummy:
		return newDummy(), nil
	}
	return nil, usagef("unknown kind of input %q", cfg.Kind)
}

// closeInputs closes the inputs that hold something open.
func (m *mirror) closeInputs() error {
	var errs []error
	for _, in := range m.inputs {
		if c, ok := in.input.(interface{ Close() error }); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// newServer listens for listeners' streams.
func (m *mirror) newServer(cfg InputConfig) (input, error) {
	l, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("--input-tcp %s: %w", cfg.Address, err)
	}
	known, err := m.serverTrust(cfg, l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--input-tcp %s: %w", cfg.Address, err), l.Close())
	}
	s, err := replay.NewServer(replay.ServerConfig{
		Listener:      l,
		Insecure:      m.cfg.Insecure,
		Trust:         known,
		NeedResponses: m.cfg.compares(),
		Notify:        func(err error) { m.log.Warn("a listener's stream ended", "error", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("--input-tcp %s: %w", cfg.Address, err)
	}
	m.log.Info("listening", "address", s.Addr().String())
	m.quiet = append(m.quiet, quietInput{in: s, why: func() string {
		return fmt.Sprintf("no listener has sent anything to %s yet: is one running with --output-tcp and this host's name, "+
			"and does no firewall stand between?", s.Addr())
	}})
	return s, nil
}

// newFiles opens recordings.
func (m *mirror) newFiles(cfg InputConfig) (input, error) {
	files, err := openFiles(cfg)
	if err != nil {
		return nil, err
	}
	m.files = append(m.files, files)
	return files, nil
}

func openFiles(cfg InputConfig) (*replay.Files, error) {
	pace := cfg.File.Pace
	fc := replay.FilesConfig{
		Patterns:  []string{cfg.Address},
		Speed:     cfg.File.Speed,
		Max:       cfg.File.Max,
		Pacer:     pace.pacer(),
		From:      pace.From,
		To:        pace.To,
		Requests:  pace.Requests,
		Duration:  pace.Duration,
		Loop:      cfg.File.Loop,
		ReadDepth: cfg.File.ReadDepth,
		MaxWait:   cfg.File.MaxWait,
	}
	if fc.Pacer != nil {
		fc.Speed = 0
	}
	files, err := replay.NewFiles(fc)
	if err != nil {
		return nil, fmt.Errorf("--input-file %w", err)
	}
	return files, nil
}

// summarizeFiles says what is in the recordings of the inputs with
// --input-file-dry-run and how long replaying them takes. It reports whether
// there were any.
func summarizeFiles(ctx context.Context, cfg Config) (any bool, err error) {
	for _, in := range cfg.Inputs {
		if !in.File.DryRun {
			continue
		}
		any = true
		files, err := openFiles(in)
		if err != nil {
			return any, err
		}
		summary, err := files.Summary(ctx)
		if err := errors.Join(summary.WriteText(cfg.Console.Stdout), err); err != nil {
			return any, err
		}
	}
	return any, nil
}

// openOutput opens one output and puts its limit, queue and filters before it.
func (m *mirror) openOutput(ctx context.Context, cfg OutputConfig) error {
	chain, err := m.filters(cfg.Filters, cfg.Share, cfg.SampleBy, kagami.OutputSide)
	if err != nil {
		return err
	}
	out, name, err := m.newOutput(ctx, cfg)
	if err != nil {
		return err
	}
	if cfg.Limit > 0 {
		out = output.NewLimit(out, output.LimitConfig{Index: len(m.outputs), Rate: cfg.Limit})
	}
	queue := output.QueueConfig{
		Messages: cfg.QueueMessages,
		Bytes:    cfg.QueueBytes,
		OnFull:   queueOnFull(cfg.OnFull),
		Broken:   func(err error) { m.log.Error("an output broke, and gets nothing more", "output", name, "error", err) },
	}
	line, err := m.addOutput(name, out, chain, cfg.Kind == OutputHTTP, queue)
	if err != nil {
		return errors.Join(err, out.Close())
	}
	line.compares = !m.cfg.DryRun && cfg.HTTP.Compare
	return nil
}

// newOutput opens an output, and returns the name it has in the ledger.
func (m *mirror) newOutput(ctx context.Context, cfg OutputConfig) (out output.Output, name string, err error) {
	if m.cfg.DryRun {
		return newDryRun(m.cfg.Console.Stdout, cfg), cfg.Address, nil
	}
	switch cfg.Kind {
	case OutputHTTP:
		return m.newHTTP(ctx, cfg)
	case OutputTCP:
		out, err = m.newTCP(cfg)
		return out, "tcp://" + cfg.Address, err
	case OutputFile:
		out, err = m.newFile(cfg)
		return out, cfg.Address, err
	case OutputStdout:
		return output.NewWriter(m.cfg.Console.Stdout), "stdout", nil
	case OutputNull:
		return output.Null{}, "null", nil
	}
	return nil, "", usagef("unknown kind of output %q", cfg.Kind)
}

// newTCP makes the sending end of a stream.
func (m *mirror) newTCP(cfg OutputConfig) (output.Output, error) {
	known, err := m.clientTrust(cfg)
	if err != nil {
		return nil, fmt.Errorf("--output-tcp %s: %w", cfg.Address, err)
	}
	out, err := output.NewTCP(output.TCPConfig{
		Address:   cfg.Address,
		Trust:     known,
		ID:        listenerID(),
		Insecure:  m.cfg.Insecure,
		Responses: m.cfg.bringsAnswers(),
		Notify: func(err error) {
			if err != nil {
				m.log.Warn("no stream to the replayer", "replayer", cfg.Address, "error", err)
				return
			}
			m.log.Info("streaming", "replayer", cfg.Address)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--output-tcp %s: %w", cfg.Address, err)
	}
	return out, nil
}

// listenerID is the name by which the replayer's log knows this host.
func listenerID() string {
	name, err := os.Hostname()
	if err != nil {
		return "listener"
	}
	return name
}

// newFile opens a recording to write.
func (m *mirror) newFile(cfg OutputConfig) (output.Output, error) {
	out, err := output.NewFile(output.FileConfig{
		Path:          cfg.Address,
		Append:        cfg.File.Append,
		FlushInterval: cfg.File.FlushInterval,
		SizeLimit:     cfg.File.SizeLimit,
		QueueLimit:    cfg.File.QueueLimit,
		MaxSize:       cfg.File.MaxSize,
		GorNames:      m.cfg.Role == RoleGor,
	})
	if err != nil {
		return nil, fmt.Errorf("--output-file %w", err)
	}
	return out, nil
}

// newInputLimit returns a filter that lets so many requests a second through,
// with a bucket of as many. Live messages are counted as they come; those of
// files, which are read ahead, by the time they are due.
func newInputLimit(perSecond float64) filter.Filter {
	limiter := rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
	return filter.FilterFunc(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		now := m.Due
		if now.IsZero() {
			now = time.Now()
		}
		if !limiter.AllowN(now, 1) {
			return nil, kagami.RateLimited
		}
		return m, kagami.Delivered
	})
}
