// Package faults tests what a stream between hosts promises, with real processes in
// network namespaces: listener and replayer killed at any moment, the network cut, a
// full disk, a target that hangs, strangers at the replayer's port. It holds tests
// only, which need root.
package faults
