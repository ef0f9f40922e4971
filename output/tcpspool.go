package output

import (
	"time"

	"kagami"
	"kagami/internal/spool"
)

// A TCPSpool says where a TCP output keeps on disk what is not acknowledged, and how much. A
// field that is zero has the default that stands beside it.
type TCPSpool struct {
	// Dir is a directory of this output's own.
	Dir string
	// MaxBytes bounds its files: 1 GiB. MaxAge is how old messages get before they are dropped; 0 is any age.
	MaxBytes int64
	MaxAge   time.Duration
	// SyncEvery is how much of the last messages may be lost where the power fails: 1 s. Negative: none. Where the
	// process dies nothing is.
	SyncEvery time.Duration
	// OnFull says what becomes of messages that are over MaxBytes: they are dropped as
	// [kagami.SpoolFull], or wait.
	OnFull OnFull
	// Name is what the ledger calls the spool.
	Name string
	// Notify, if set, is told when the disk takes nothing, and nil when it does again. It must not block.
	Notify func(error)
}

// A SpoolFound is what a spool held when it was opened.
type SpoolFound = spool.Found

// spooled returns the store as a tcpSpool, nil if it is none.
func (t *TCP) spooled() *tcpSpool {
	s, _ := t.store.(*tcpSpool)
	return s
}

// Stages are the lines of the ledger that a spool has, nil without one: what it held at the start, and
// what is in it. Into the latter goes what comes out of the former, and out of the output.
func (t *TCP) Stages() (carried, spool *kagami.Stage) {
	if s := t.spooled(); s != nil {
		return s.spool.Stages()
	}
	return nil, nil
}

// Found is what the spool held when it was opened.
func (t *TCP) Found() SpoolFound {
	if s := t.spooled(); s != nil {
		return s.found
	}
	return SpoolFound{}
}

// A SpoolState is how full a spool is.
type SpoolState struct {
	Messages, Bytes, Limit int64
	Age                    time.Duration // of the oldest, about
}

// Spool says how full the spool is; ok is false without one.
func (t *TCP) Spool() (st SpoolState, ok bool) {
	s := t.spooled()
	if s == nil {
		return st, false
	}
	return SpoolState{s.spool.Held(), s.spool.Bytes(), s.spool.Limit(), s.spool.Age()}, true
}
