// Package state tests what a stream between hosts promises with real processes in
// network namespaces: a replayer that is killed at any moment, a full disk, a
// target that hangs, strangers at its port. It holds tests only, which need root.
package state
