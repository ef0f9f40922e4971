package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"kagami"
)

// DefaultReadDepth is the default of FilesConfig.ReadDepth.
const DefaultReadDepth = 100

// What Files hands on at once.
const (
	maxBatchMessages = 256
	maxBatchBytes    = 1 << 20
	maxBatchTime     = 10 * time.Millisecond
)

// A FilesConfig says which recordings are replayed, and how fast.
type FilesConfig struct {
	// Patterns name the files: paths, or patterns of filepath.Match. A pattern
	// that matches no file is an error; a file that several match is read once.
	Patterns []string
	// Speed is how many times as fast as recorded; 0 means 1.
	Speed float64
	// Max sends everything as fast as it goes, in order, whatever Speed is: no
	// message has a Due time.
	Max bool
	// Pacer decides when messages are due, in place of Speed.
	Pacer Pacer
	// MaxWait, if not 0, is the longest that nothing is due: what a gap would
	// take beyond that, at the speed asked for, is left out.
	MaxWait time.Duration
	// From and To are the part of the recordings that is replayed: requests that
	// begin at From or later and before To, and the answers to them. The zero
	// values are the recordings' beginning and end. The replay begins with the
	// first of these requests, whatever From is.
	From, To Moment
	// Requests, if not 0, is how many requests are replayed at most, in all
	// rounds of a loop, and Duration, if not 0, for how long: only those that are
	// due before it is over, counted from the first. Their answers follow, as
	// far as they lie within DefaultExchangeAge.
	Requests int
	Duration time.Duration
	// Loop begins again after the last message, for ever. The ids stay the same,
	// and so do Start and End.
	Loop bool
	// ReadDepth is how many messages of each file are put in order by their time
	// (with at most 16 MiB of them held); 0 means DefaultReadDepth, 1 takes them
	// as they come. A message that comes later than that is due at once. Of a pipe
	// as many are held back until more come or it ends.
	ReadDepth int
	// Lead is how long after it is handed on the first message is due. Meanwhile files
	// are read ahead, which would keep a processor from what is due first.
	Lead time.Duration
	// Now is the clock, asked once, when the first message is handed on; nil
	// means time.Now.
	Now func() time.Time
}

// check completes the config with its defaults.
func (cfg *FilesConfig) check() error {
	switch {
	case len(cfg.Patterns) == 0:
		return errors.New("no files to replay: want a path or a pattern")
	case cfg.Speed < 0 || math.IsNaN(cfg.Speed) || math.IsInf(cfg.Speed, 0):
		return fmt.Errorf("speed of %v: want more than 0, where 1 is as recorded", cfg.Speed)
	case cfg.Pacer != nil && cfg.Speed != 0:
		return errors.New("both a speed and a pacer: want one of them")
	case cfg.Max && cfg.Pacer != nil:
		return errors.New("both as fast as it goes and a pacer: want one of them")
	case cfg.MaxWait < 0:
		return fmt.Errorf("longest wait of %v: want 0 (no limit) or more", cfg.MaxWait)
	case cfg.Lead < 0:
		return fmt.Errorf("lead of %v: want 0 or more", cfg.Lead)
	case cfg.ReadDepth < 0:
		return fmt.Errorf("read depth of %d: want 1 or more", cfg.ReadDepth)
	}
	if err := cfg.checkSelection(); err != nil {
		return err
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	if cfg.Pacer == nil {
		cfg.Pacer = Speed(cfg.Speed)
	}
	if cfg.ReadDepth == 0 {
		cfg.ReadDepth = DefaultReadDepth
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

// A Files replays recordings: it reads several files as one, in the order of
// the messages' time, joins answers to their requests, and says when each
// message is due. It does not wait itself: it hands messages on ahead of time,
// until emit blocks, and what stands before an output waits. So memory is
// bounded by what emit takes, by the reorder window of the files that are open
// at a time (those that cover the moment being replayed), and by the table of
// exchanges.
type Files struct {
	cfg   FilesConfig
	paths []plan
	stage *kagami.Stage
	held  atomic.Int64

	progress progress
}

// NewFiles finds the files and looks at each, so that a pattern that matches
// nothing, or a file that is no recording, is an error before anything is sent.
func NewFiles(cfg FilesConfig) (*Files, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	paths, err := findFiles(cfg.Patterns)
	if err != nil {
		return nil, err
	}
	f := &Files{cfg: cfg}
	f.stage = &kagami.Stage{Name: "file", Of: strings.Join(cfg.Patterns, " "), Unit: kagami.Messages, InFlight: f.held.Load}
	for _, path := range paths {
		p, err := look(path, cfg.ReadDepth)
		if err != nil {
			return nil, err
		}
		if cfg.Loop && !p.regular {
			return nil, fmt.Errorf("%s: not a file that can be read again, as a loop has to", path)
		}
		f.paths = append(f.paths, p)
		f.progress.Total += p.size
	}
	return f, nil
}

// Run reads the files and hands their messages to emit, batch by batch. emit
// may block; whatever it returns, it has taken over the batch it was given.
//
// Run returns nil when all files were read, as far as they are asked for, or
// ctx has ended; that nothing lies between From and To is an error. Where files are
// damaged, it hands on all whole records of all files first, and then returns
// an error that names each damaged file and the byte offset. An error of emit
// ends it at once, and is returned unless ctx has ended. Run is to be called once.
func (f *Files) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	r := &run{files: f, ctx: ctx, emit: emit, selection: selection{cfg: &f.cfg}}
	for {
		before := r.clock.count
		err := r.round()
		if err == nil && ctx.Err() == nil && r.clock.count == 0 {
			err = r.selection.empty()
		}
		if err != nil || !f.cfg.Loop || r.selection.ended || ctx.Err() != nil {
			return err
		}
		if r.clock.count == before {
			return errors.New("nothing to loop over: the files hold no messages to send")
		}
		r.clock.again()
		r.exchanges.Reset()
	}
}

// Stages returns the one stage of f, in messages: in are records read, out are
// messages handed on. Dropped are unknown-kind, orphan-response, damaged (one
// for each stretch of a file that could not be read), outside-window (requests
// that are not between From and To, or behind the end that Requests or Duration
// is; request-dropped are their answers) and drain-timeout (read ahead when Run
// was told to stop). What lies more than DefaultExchangeAge behind the end is
// not read, and so not counted.
func (f *Files) Stages() []*kagami.Stage { return []*kagami.Stage{f.stage} }

// A run is one call of Run.
type run struct {
	files     *Files
	ctx       context.Context
	emit      func(context.Context, kagami.Batch) error
	exchanges Exchanges
	selection selection
	clock     clock
	batch     []*kagami.Message
	bytes     int64
}

// round reads all files once.
func (r *run) round() error {
	f := r.files
	f.progress.round()
	r.selection.round()
	m := newMerge(f.paths, f.cfg.ReadDepth, f.stage)
	defer m.close()
	unread := kagami.DrainTimeout
	for r.ctx.Err() == nil {
		msg := m.next()
		if msg == nil {
			break
		}
		if r.selection.see(msg) {
			unread = kagami.OutsideWindow
			f.stage.Drop(unread, 1) // msg itself
			break
		}
		if err := r.take(msg, m); err != nil {
			r.giveUp(m, kagami.DrainTimeout)
			return err
		}
	}
	err := r.flush(m)
	f.progress.read(m.done())
	r.giveUp(m, unread)
	return errors.Join(append([]error{err}, m.damaged...)...)
}

// take adds a message to the batch, if it is to be handed on.
func (r *run) take(m *kagami.Message, from *merge) error {
	reason := kagami.OrphanResponse
	if r.exchanges.Join(m) {
		reason = r.selection.admit(m)
	}
	if reason != kagami.Delivered {
		r.files.stage.Drop(reason, 1)
		return nil
	}
	at, reason := r.selection.place(m, &r.clock)
	if reason != kagami.Delivered {
		r.files.stage.Drop(reason, 1)
		return r.flush(from) // nothing more may come for long
	}
	return r.add(m, at, from)
}

// add adds a message, due at, to the batch, after handing on the batch if it
// does not belong to it.
func (r *run) add(m *kagami.Message, at time.Duration, from *merge) error {
	f := r.files
	if !f.cfg.Max {
		m.Due = r.clock.due(at, &f.cfg)
	}
	full := len(r.batch) == maxBatchMessages || r.bytes >= maxBatchBytes
	if len(r.batch) > 0 && (full || m.Due.Sub(r.batch[0].Due) >= maxBatchTime) {
		if err := r.flush(from); err != nil {
			f.stage.Drop(kagami.DrainTimeout, 1) // m itself
			return err
		}
	}
	r.batch = append(r.batch, m)
	r.bytes += m.Size()
	return nil
}

// flush hands on the batch.
func (r *run) flush(from *merge) error {
	f := r.files
	f.held.Store(int64(from.held()))
	if len(r.batch) == 0 {
		return nil
	}
	if r.ctx.Err() != nil {
		f.stage.Drop(kagami.DrainTimeout, len(r.batch))
		r.batch = nil
		return nil
	}
	f.stage.Out(len(r.batch))
	f.progress.emitted(r.batch, from.done())
	b := kagami.Batch{Messages: r.batch}
	r.batch, r.bytes = make([]*kagami.Message, 0, min(2*len(r.batch), maxBatchMessages)), 0
	if err := r.emit(r.ctx, b); r.ctx.Err() == nil {
		return err
	}
	return nil
}

// giveUp settles what was read ahead and will not be handed on.
func (r *run) giveUp(m *merge, reason kagami.Reason) {
	if n := m.held(); n > 0 {
		r.files.stage.Drop(reason, n)
	}
	m.close()
	r.files.held.Store(0)
}
