//go:build !kagami_lose

// Package lose loses a message on purpose, so that tests can show that the
// ledger notices. It does so only in a build with the tag kagami_lose; in any
// other, One is constant false and costs nothing.
package lose

// One reports whether the caller is to lose one message at the named point.
func One(point string) bool { return false }
