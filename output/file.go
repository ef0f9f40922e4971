package output

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/lose"
)

// DefaultFlushInterval is the default of FileConfig.FlushInterval.
const DefaultFlushInterval = time.Second

// maxOpenFiles bounds how many files a File has open at a time, where its name
// has a token that differs from message to message.
const maxOpenFiles = 16

// A FileConfig says where and how messages are recorded.
type FileConfig struct {
	// Path is the file. Its extension says how it is written: .kgm is Kagami's
	// own format (docs/format.md), anything else is GoReplay's .gor; .gz behind
	// either compresses. These are replaced in it: %Y %m %d %H %M %S by the local
	// time, %NS by the nanosecond of the second, %r by the message's id, %t by its
	// kind (1, 2 or 3), %i by Instance. When the name changes, so does the file.
	Path string
	// Append adds to a file that exists. Without it, one that exists is an error.
	// Nothing that exists is ever truncated.
	Append bool
	// Compress compresses the batches of .kgm with zstd, each by itself.
	Compress bool
	// FlushInterval is how long a message may wait in memory before it is
	// written; 0 means DefaultFlushInterval.
	FlushInterval time.Duration
	// SizeLimit (bytes, before compression) and QueueLimit (messages) begin a new
	// chunk of the recording as soon as the last one has reached either; 0 is no
	// limit. With a limit, the files are numbered: traffic.gor becomes
	// traffic_0.gor, traffic_1.gor and so on, from the first number above all
	// that exist. Append goes on with the chunk of the highest number, of whose
	// messages only those written now count.
	SizeLimit  int64
	QueueLimit int
	// MaxSize is how many bytes (before compression) are written in all; 0 is no
	// limit. When it is reached, the output is broken.
	MaxSize int64
	// GorNames names files as GoReplay does: they are always numbered, in front
	// of the last extension (traffic.gor_0.gz), but with Append never, and then the
	// limits of chunks do not matter.
	GorNames bool
	// Instance replaces %i; empty means eight random letters.
	Instance string
	// Now is the clock for names; nil means time.Now.
	Now func() time.Time
}

// check completes the config with its defaults.
func (cfg *FileConfig) check() error {
	switch {
	case cfg.Path == "":
		return errors.New("no path: want the name of a file")
	case strings.HasPrefix(cfg.Path, "s3://"):
		return fmt.Errorf("%s: objects in S3 cannot be written, record to a file and copy it", cfg.Path)
	case cfg.FlushInterval < 0:
		return fmt.Errorf("flush interval of %v: want more than 0", cfg.FlushInterval)
	case cfg.SizeLimit < 0 || cfg.QueueLimit < 0 || cfg.MaxSize < 0:
		return errors.New("negative size limit, queue limit or maximal size: want 0 (none) or more")
	}
	if cfg.FlushInterval == 0 {
		cfg.FlushInterval = DefaultFlushInterval
	}
	if cfg.Instance == "" {
		cfg.Instance = randomLetters(8)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

// numbered reports whether the files are numbered chunks.
func (cfg *FileConfig) numbered() bool {
	if cfg.GorNames {
		return !cfg.Append
	}
	return cfg.SizeLimit > 0 || cfg.QueueLimit > 0
}

// A File is an Output that records messages in a file, or in several, one
// after the other.
//
// Messages are collected in memory and written when there are 64 KiB of them
// (of .kgm 256 KiB, before compression 1 MiB), when the flush interval has
// passed, and at the end; then they are settled as delivered. They are not
// synced to the disk. A write that fails, as on a full disk, breaks the output:
// what is not whole in the file is settled as [kagami.SendError], and what
// was written of it is taken back, so that the file ends with a whole record
// (a compressed one without the end of its stream). New files can be read and
// written by their owner and read by its group (mode 0640), as they hold
// whatever the traffic holds.
//
// A message that the format cannot hold is dropped: as
// [kagami.AmbiguousFraming] one that in a .gor recording would be read as
// several, as [kagami.TooLarge] one beyond the limits of .kgm.
type File struct {
	cfg      FileConfig
	name     nameTemplate
	numbered bool

	mu     sync.Mutex
	series map[string]*series
	open   []*series // those with an open file, the one written last at the end
	total  int64     // bytes recorded
	err    error     // what broke the output
	told   bool      // err was returned
	closed bool
	timer  *time.Timer // runs while there is something to flush; nil while not
	timers sync.WaitGroup
	held   atomic.Int64
}

var _ Output = (*File)(nil)

// NewFile opens the file, unless its name depends on the messages. The error
// says if the file exists already; or, with Append, why nothing can be added to
// it: because it is something else, or damaged.
func NewFile(cfg FileConfig) (*File, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := &File{
		cfg:      cfg,
		name:     parseName(cfg.Path, cfg.Instance),
		numbered: cfg.numbered(),
		series:   map[string]*series{},
	}
	if !f.name.perMessage {
		if _, err := f.at(f.name.render(cfg.Now(), nil)); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Write records the batch. The error names the file, and what to do.
func (f *File) Write(_ context.Context, b kagami.Batch) error {
	if lose.One("file") {
		b = b.Slice(1, len(b.Messages))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.count()
	name := ""
	for i, m := range b.Messages {
		if f.err != nil {
			f.told = true
			return f.err
		}
		if i == 0 || f.name.perMessage {
			name = f.name.render(f.cfg.Now(), m)
		}
		f.err = f.record(name, m, b.Settle, i)
	}
	f.told = f.err != nil
	return f.err
}

// record adds one message to the file of the given name.
func (f *File) record(name string, m *kagami.Message, settle func(int, kagami.Reason), i int) error {
	if f.cfg.MaxSize > 0 && f.total >= f.cfg.MaxSize {
		return fmt.Errorf("%s: has the %d bytes that --output-file-max-size-limit allows, nothing more is recorded", name, f.cfg.MaxSize)
	}
	s, err := f.at(name)
	if err != nil {
		return err
	}
	n, reason := s.chunk.add(m, settle, i)
	if reason != kagami.Delivered {
		if settle != nil {
			settle(i, reason)
		}
		return nil
	}
	s.bytes += int64(n)
	s.messages++
	f.total += int64(n)
	f.arm()
	return s.chunk.flushLarge()
}

// at returns the series of the given name with a file open to write to.
func (f *File) at(name string) (*series, error) {
	if n := len(f.open); n > 0 && f.open[n-1].name == name && !f.full(f.open[n-1]) {
		return f.open[n-1], nil
	}
	s := f.series[name]
	if s == nil {
		s = &series{name: name, index: -1}
		f.remember(s)
	}
	if f.full(s) {
		if err := f.shut(s); err != nil {
			return nil, err
		}
		s.path, s.bytes, s.messages = "", 0, 0
	}
	if s.chunk == nil {
		if err := f.makeRoom(); err != nil {
			return nil, err
		}
		if err := f.openNext(s); err != nil {
			return nil, err
		}
	}
	f.unlist(s)
	f.open = append(f.open, s)
	return s, nil
}

// full reports whether the chunk of s has reached a limit.
func (f *File) full(s *series) bool {
	return f.numbered && (f.cfg.SizeLimit > 0 && s.bytes >= f.cfg.SizeLimit ||
		f.cfg.QueueLimit > 0 && s.messages >= f.cfg.QueueLimit)
}

// makeRoom closes files so that one more can be opened.
func (f *File) makeRoom() error {
	limit := 1
	if f.name.perMessage {
		limit = maxOpenFiles
	}
	for len(f.open) >= limit {
		if err := f.shut(f.open[0]); err != nil {
			return err
		}
	}
	return nil
}

// shut closes the file of s, if it has one open.
func (f *File) shut(s *series) error {
	f.unlist(s)
	if s.chunk == nil {
		return nil
	}
	err := s.chunk.close()
	s.chunk = nil
	return err
}

// unlist takes s out of the list of those with an open file.
func (f *File) unlist(s *series) {
	for i, o := range f.open {
		if o == s {
			f.open = append(f.open[:i], f.open[i+1:]...)
			return
		}
	}
}

// arm sees to it that what was added is flushed in time.
func (f *File) arm() {
	if f.timer == nil {
		f.timers.Add(1)
		f.timer = time.AfterFunc(f.cfg.FlushInterval, f.tick)
	}
}

// tick flushes all files. Where there may be many, it closes those that were
// not written to since the last tick.
func (f *File) tick() {
	defer f.timers.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.timer = nil
	defer f.count()
	for _, s := range append([]*series(nil), f.open...) {
		idle := !s.chunk.dirty()
		if err := s.chunk.flush(false); err != nil && f.err == nil {
			f.err = err
		}
		if idle && f.name.perMessage {
			if err := f.shut(s); err != nil && f.err == nil {
				f.err = err
			}
		}
	}
	if f.name.perMessage && len(f.open) > 0 {
		f.arm()
	}
}

// InFlight is how many messages wait in memory to be written.
func (f *File) InFlight() int64 { return f.held.Load() }

// count takes stock of what waits.
func (f *File) count() {
	n := 0
	for _, s := range f.open {
		n += len(s.chunk.waiting)
	}
	f.held.Store(int64(n))
}

// Close writes what waits and closes the files. The error is what went wrong
// in that, or since the last Write.
func (f *File) Close() error {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil && f.timer.Stop() {
		f.timers.Done()
	}
	var errs []error
	if !f.told {
		errs = append(errs, f.err)
	}
	for len(f.open) > 0 {
		errs = append(errs, f.shut(f.open[0]))
	}
	f.count()
	f.mu.Unlock()
	f.timers.Wait()
	return errors.Join(errs...)
}
