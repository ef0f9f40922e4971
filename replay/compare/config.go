package compare

import (
	"errors"
	"fmt"
	"time"
)

// The defaults of a Config.
const (
	DefaultTimeout  = time.Minute
	DefaultMaxBytes = 64 << 20
	DefaultMaxBody  = 8 << 20
	DefaultExamples = 3
)

// A Config says what is compared, and with what bounds. The zero value compares
// all but the headers that differ by nature (see [IgnoredHeaders]).
type Config struct {
	// Ignore is rules for what is no difference; [ParseRule] has their spelling.
	Ignore []string
	// Headers are the names of the headers to compare, and no others: those of
	// IgnoredHeaders as well, where they are named. Empty means all headers but
	// those of IgnoredHeaders.
	Headers []string
	// Baseline says that answers of an unchanged copy are written to
	// [Compare.Baseline]: an exchange waits for its third answer then.
	Baseline bool
	// Timeout is how long an exchange waits for an answer, from the last message
	// of it that came; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxBytes bounds what waits for its counterpart, in bytes; the oldest
	// exchange is given up for a new one. 0 means DefaultMaxBytes.
	MaxBytes int64
	// MaxBody is how large a body may be once its content coding is removed, in
	// bytes. A larger one is not compared. 0 means DefaultMaxBody.
	MaxBody int
	// Examples is how many examples a group of differences keeps; 0 means
	// DefaultExamples, less than 0 none.
	Examples int
	// Each, if set, is called with every finished exchange, by one goroutine at
	// a time. What it does holds up the messages that come after.
	Each func(Verdict)
	// Now is the clock; nil means time.Now. It never runs backwards.
	Now func() time.Time
}

// withDefaults returns the Config with its defaults filled in, or says what is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Timeout < 0:
		return c, fmt.Errorf("compare: timeout %v: want more than 0", c.Timeout)
	case c.MaxBytes < 0:
		return c, fmt.Errorf("compare: room for %d bytes: want more than 0", c.MaxBytes)
	case c.MaxBody < 0 || c.MaxBody > 1<<30:
		return c, fmt.Errorf("compare: bodies of up to %d bytes: want 1 to 1 GiB", c.MaxBody)
	}
	for _, name := range c.Headers {
		if !isHeaderName(name) {
			return c, fmt.Errorf("compare: %.50q is not the name of a header: want one such as Content-Type", name)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Examples == 0 {
		c.Examples = DefaultExamples
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

var (
	errClosed     = errors.New("compare: written to after Close")
	errNoBaseline = errors.New("compare: no baseline is expected: set Config.Baseline")
)
