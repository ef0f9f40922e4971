//go:build kagami_lose

// Package lose loses a message on purpose, so that tests can show that the
// ledger notices.
package lose

import (
	"os"
	"sync/atomic"
)

var (
	chosen = os.Getenv("LOSE_KAGAMI_MESSAGE")
	done   atomic.Bool
)

// One reports whether the caller is to lose one message at the named point: it
// is true once, at the point that the environment variable LOSE_KAGAMI_MESSAGE names.
func One(point string) bool {
	return point == chosen && done.CompareAndSwap(false, true)
}
