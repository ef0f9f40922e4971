package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"kagami"
	"kagami/filter"
	"kagami/output"
	"kagami/replay"
)

// newMirror opens everything that cfg names. Outputs are opened first, so that
// nothing captured waits for a file that cannot be made; what was opened is
// closed again if something else cannot be.
func newMirror(ctx context.Context, cfg Config) (*mirror, error) {
	rights, err := newPrivileges(cfg.User)
	if err != nil {
		return nil, err
	}
	m := &mirror{pipeline: newPipeline(string(cfg.Role), cfg.SplitOutput), cfg: cfg, log: cfg.Console.Log, rights: rights, live: map[int]liveInput{}}
	m.useful, m.giveUp = context.WithCancel(context.Background())
	m.splitter = splitter{turns: cfg.SplitTurns, byConnection: cfg.KeepOrder, up: map[int]func() bool{}}
	if err := m.open(ctx); err != nil {
		m.giveUp()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		err = errors.Join(err, m.shutdown(ended), m.closeInputs(), m.results.close(0), m.comparison.abandon(), m.closeState())
		return nil, err
	}
	return m, nil
}

func (m *mirror) open(ctx context.Context) error {
	m.behave()
	if err := m.openState(); err != nil {
		return err
	}
	shared, err := m.cfg.sharedFilter()
	if err != nil {
		return err
	}
	m.comparison = newComparison(&m.cfg, m.log)
	m.results = newResults(&m.cfg, m.log)
	for i, out := range m.cfg.Outputs {
		line, err := m.openOutput(ctx, out, i)
		if err != nil {
			return err
		}
		m.outputs = append(m.outputs, line)
		m.lastIndex = i
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
	if err == nil {
		err = m.giveUpRoot()
	}
	return err
}

// giveUpRoot leaves the process with what it needs from now on.
func (m *mirror) giveUpRoot() error {
	if hint := m.rights.hint(); hint != "" && m.cfg.captures() {
		m.log.Info(hint)
	}
	if err := m.rights.drop(); err != nil {
		return err
	}
	if m.cfg.User != "" {
		m.log.Info("root is given up", "user", m.cfg.User)
	}
	return m.rights.checkWritable("--summary", m.cfg.Summary)
}

// sharedFilter is the filter of --http-… flags, which stands before all outputs.
func (c *Config) sharedFilter() (filter.Chain, error) {
	rules := c.Filters
	rules.SafeMethods = c.SafeMethods
	return filter.New(rules)
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
	limit := newInputLimit(cfg.Limit)
	chain, err := m.inputFilters(cfg, shared, limit)
	if err != nil {
		return err
	}
	m.limits = append(m.limits, limit)
	in, err := m.newInput(ctx, cfg)
	if err != nil {
		return err
	}
	address := cfg.Address
	if cfg.Kind == InputNATS {
		address = redacted(address)
	}
	line := m.addInput(string(cfg.Kind)+" "+address, in, chain)
	if server, ok := in.(*replay.Server); ok && m.state != nil {
		m.state.Behind(server, line.stage)
	}
	return nil
}

// inputFilters are what the requests of an input have to pass.
func (m *mirror) inputFilters(cfg InputConfig, shared filter.Chain, limit filter.Filter) (filter.Chain, error) {
	own := cfg.Filters
	own.RealIPHeader = cfg.Raw.RealIPHeader
	chain, err := m.filters(own, cfg.Share, cfg.SampleBy, kagami.InputSide)
	if err != nil {
		return nil, err
	}
	chain = append(chain, shared...)
	if cfg.Limit > 0 {
		chain = append(chain, limit)
	}
	return chain, nil
}

func (m *mirror) newInput(ctx context.Context, cfg InputConfig) (input, error) {
	switch cfg.Kind {
	case InputRaw:
		return m.newRaw(ctx, cfg)
	case InputTCP:
		return m.newServer(cfg)
	case InputNATS:
		return m.newNATSInput(cfg)
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
		State:         m.state,
		Resend:        m.cfg.resends(InputTCP),
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

// readAhead is how long a replay reads before its first request is due: filling a queue takes
// 35 ms of a processor that sends nothing meanwhile, if it is the only one.
const readAhead = 200 * time.Millisecond

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
		Lead:      readAhead,
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

// openOutput opens one output, with a number among those that the exchanges can tell
// apart, and puts its limit, queue and filters before it.
func (m *mirror) openOutput(ctx context.Context, cfg OutputConfig, index int) (*outputLine, error) {
	chain, err := m.filters(cfg.Filters, cfg.Share, cfg.SampleBy, kagami.OutputSide)
	if err != nil {
		return nil, err
	}
	line := &outputLine{index: index, filter: chain, requests: cfg.Kind == OutputHTTP}
	line.cfg = cfg
	out, name, err := m.newOutput(ctx, cfg, line)
	if err != nil {
		return nil, err
	}
	books := spoolBooksOf(out)
	if cfg.Limit > 0 || m.cfg.Reload != nil {
		line.limit = output.NewLimit(out, output.LimitConfig{Index: index, Rate: outputRate(cfg.Limit)})
		out = line.limit
	}
	queue := output.QueueConfig{
		Messages: cfg.QueueMessages,
		Bytes:    cfg.QueueBytes,
		OnFull:   queueOnFull(cfg.OnFull),
		Broken:   func(err error) { m.broke(line, err) },
	}
	line.spools = books
	line.compares = !m.cfg.DryRun && cfg.HTTP.Compare
	m.begin(line, name, out, queue)
	return line, nil
}

// outputRate is a limit's rate as package output has it.
func outputRate(limit float64) float64 {
	if limit == 0 {
		return math.Inf(1)
	}
	return limit
}

// newOutput opens an output, and returns the name it has in the ledger.
func (m *mirror) newOutput(ctx context.Context, cfg OutputConfig, line *outputLine) (out output.Output, name string, err error) {
	if m.cfg.DryRun {
		if cfg.Kind == OutputHTTP || cfg.Kind == OutputNATS {
			cfg.Address = shown(cfg.Address)
		}
		return newDryRun(m.cfg.Console.Stdout, cfg), cfg.Address, nil
	}
	if cfg.Kind == OutputHTTP {
		return m.newHTTP(ctx, cfg, line)
	}
	switch cfg.Kind {
	case OutputTCP:
		out, err = m.newTCP(cfg, line.index)
		name = "tcp://" + cfg.Address
	case OutputNATS:
		out, err = m.newNATSOutput(cfg, line)
		name = redacted(cfg.Address)
	case OutputFile:
		out, err = m.newFile(cfg)
		name = cfg.Address
	case OutputStdout:
		out, name = output.NewWriter(m.cfg.Console.Stdout), "stdout"
	case OutputNull:
		out, name = output.Null{}, "null"
	default:
		err = usagef("unknown kind of output %q", cfg.Kind)
	}
	if err != nil {
		return nil, "", err
	}
	return m.gate(out, line.index), name, nil
}
