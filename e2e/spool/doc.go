// Package spool holds the end-to-end tests of a listener that keeps on disk what its replayer has
// not acknowledged: killed, cut off, restarted, with a full disk. They need root.
package spool
