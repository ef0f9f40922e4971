package output

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// DefaultFlushInterval is the default of FileConfig.FlushInterval.
const DefaultFlushInterval = time.Second

// A SyncPolicy says when a recording is on the disk, and not only in the
// kernel's memory (fsync(2)).
type SyncPolicy int

// The policies. The zero value, SyncNever, leaves it to the kernel: a crash of
// the host may lose what it had not written yet, one of the process nothing.
const (
	SyncNever SyncPolicy = iota
	SyncClose            // when a file is complete
	SyncFlush            // whenever something was written: what is delivered is on the disk
)

// A FileConfig says where and how messages are recorded.
type FileConfig struct {
	// Path is the file. Its extension says how it is written: .kgm is Kagami's
	// own format (docs/format.md), anything else is GoReplay's .gor; .gz behind
	// either compresses. These are replaced in it: %Y %m %d %H %M %S by the local
	// time, %NS by the nanosecond of the second, %r by the message's id, %t by its
	// kind (1, 2 or 3), %i by Instance. When the name changes, so does the file;
	// but a name with %S is that of the moment at which the file was begun.
	Path string
	// Append adds to a file that exists. Without it, one that exists is an error.
	// Nothing that exists is ever truncated.
	Append bool
	// Compress compresses the batches of .kgm with zstd, each by itself.
	Compress bool
	// FlushInterval is how long a message may wait in memory before it is
	// written; 0 means DefaultFlushInterval.
	FlushInterval time.Duration
	// Sync is when what was written is on the disk.
	Sync SyncPolicy
	// SizeLimit (bytes, before compression), QueueLimit (messages) and TimeLimit
	// (since the first message) begin a new chunk of the recording as soon as the
	// last one has reached one of them; 0 is no limit. With a limit, the files are
	// numbered: traffic.gor becomes traffic_0.gor, traffic_1.gor and so on, from
	// the first number above all that exist. Append goes on with the chunk of the
	// highest number, of whose messages only those written now count.
	SizeLimit  int64
	QueueLimit int
	TimeLimit  time.Duration
	// KeepFiles and KeepSize (bytes, as they are on the disk) are how much of the
	// recording is kept, the file being written included: the oldest files are
	// deleted. Only files that this File made are, and only if they are still
	// the same files; the one being written never is. 0 keeps all. The recording
	// needs several files for that: a limit, or a name made of the time.
	KeepFiles int
	KeepSize  int64
	// MaxSize is how many bytes are written in all, as they are on the disk; 0 is
	// no limit. When it is reached, Write returns ErrMaxSize.
	MaxSize int64
	// MinFree is how many bytes must be free for everybody on the disk: before
	// there would be less, the output breaks. 0 does not look. It can be asked
	// for where [CanWatchDisk] is true.
	MinFree int64
	// GorNames names files as GoReplay does: they are always numbered, in front
	// of the last extension (traffic.gor_0.gz), but with Append never, and then the
	// limits of chunks do not matter; and %S begins a new file each second.
	GorNames bool
	// Instance replaces %i; empty means eight random letters.
	Instance string
	// Now is the clock for names and TimeLimit; nil means time.Now.
	Now func() time.Time
}

// Check says what is wrong with the config, if anything is, without touching the disk.
func (cfg FileConfig) Check() error { return cfg.check() }

// check completes the config with its defaults.
func (cfg *FileConfig) check() error {
	switch {
	case cfg.Path == "":
		return errors.New("no path: want the name of a file")
	case strings.HasPrefix(cfg.Path, "s3://"):
		return fmt.Errorf("%s: objects in S3 cannot be written, record to a file and copy it", cfg.Path)
	case cfg.FlushInterval < 0:
		return fmt.Errorf("flush interval of %v: want more than 0", cfg.FlushInterval)
	case cfg.SizeLimit < 0 || cfg.QueueLimit < 0 || cfg.TimeLimit < 0 || cfg.MaxSize < 0 || cfg.KeepFiles < 0 || cfg.KeepSize < 0 || cfg.MinFree < 0:
		return errors.New("a negative limit: want 0 (none) or more")
	case cfg.MinFree > 0 && !CanWatchDisk:
		return errors.New("how much of a disk is free cannot be told on this system: say --min-free-disk 0")
	}
	if err := cfg.checkKeep(); err != nil {
		return err
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

// checkKeep checks that what is to be kept can be told from what is not.
func (cfg *FileConfig) checkKeep() error {
	if cfg.KeepFiles == 0 && cfg.KeepSize == 0 {
		return nil
	}
	name := parseName(cfg.Path, "")
	switch {
	case name.perMessage:
		return fmt.Errorf("%s: files named after messages (%%r, %%t, %%NS) cannot be deleted by age", cfg.Path)
	case cfg.numbered() && (cfg.SizeLimit > 0 || cfg.QueueLimit > 0 || cfg.TimeLimit > 0):
	case len(name.parts) == 1 || name.seconds && !cfg.GorNames:
		return fmt.Errorf("%s: to delete the oldest files there must be several: say --output-file-size-limit, "+
			"--output-file-queue-limit or --output-file-time-limit too, or put %%H or %%d into the name", cfg.Path)
	}
	return nil
}

// numbered reports whether the files are numbered chunks.
func (cfg *FileConfig) numbered() bool {
	if cfg.GorNames {
		return !cfg.Append
	}
	return cfg.SizeLimit > 0 || cfg.QueueLimit > 0 || cfg.TimeLimit > 0
}
