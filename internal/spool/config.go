package spool

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// A Config says where a spool is and how much it keeps. A field that is zero has the
// default that stands beside it.
type Config struct {
	// Dir is the directory; it is made if it is missing. What root makes there belongs to the owner of the
	// directory above, so that a process can give up root and go on.
	Dir string
	// Listener is the name of the stream, where the spool has none yet. One that it has stays.
	Listener string
	// Name is what the ledger calls it.
	Name string
	// MaxBytes bounds the files: 1 GiB.
	MaxBytes int64
	// MaxAge is how old records get before they are dropped; 0 is any age.
	MaxAge time.Duration
	// SyncEvery is how long what was written may not be on the disk yet, which matters where the
	// power fails and not where the process dies: 1 s. Negative: a batch is not taken in before it is.
	SyncEvery time.Duration
	// SegmentBytes is how large a file grows: 16 MiB, and no more than an eighth of MaxBytes.
	SegmentBytes int64
	// MemoryBytes is how much goes through memory where the disk takes nothing: 4 MiB.
	MemoryBytes int64
	// Notify, if set, is told when the disk begins to take nothing, with the error, and nil when it
	// takes something again; and of other errors, each once. It must not block, nor call the spool.
	Notify func(error)
	// Rand draws the epoch of a new spool: math/rand/v2.Uint64.
	Rand func() uint64
	// Now is time.Now.
	Now func() time.Time
}

// The defaults of a Config.
const (
	DefaultMaxBytes     = 1 << 30
	DefaultSyncEvery    = time.Second
	DefaultSegmentBytes = 16 << 20
	DefaultMemoryBytes  = 4 << 20
)

func (cfg *Config) setDefaults() {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.SyncEvery = cmp.Or(cfg.SyncEvery, DefaultSyncEvery)
	cfg.SegmentBytes = min(cmp.Or(cfg.SegmentBytes, DefaultSegmentBytes), max(1, cfg.MaxBytes/8))
	cfg.MemoryBytes = cmp.Or(cfg.MemoryBytes, DefaultMemoryBytes)
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
}
