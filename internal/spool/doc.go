// Package spool keeps batches of records on disk until they are acknowledged: what
// stands between a listener and a replayer that is away.
//
// A directory holds one stream's batches, in the encoding of internal/stream, in
// segment files that are .kgm files; its name and epoch, so that a listener that was
// restarted is the same to the replayer; and how far it has got. docs/format.md
// specifies them. After a crash whole batches are found; a batch that was being
// written is cut off.
//
// It is bounded in bytes and in time. Over the bound in bytes what comes is not taken
// in, for what is in there may be on its way; over that in time the oldest goes. Where the disk takes
// nothing, as when it is full, a few MiB go through memory.
//
// A Spool never waits for the replayer. It keeps the books of what is in it: what an
// earlier process left, what came, what was acknowledged, what was dropped and why.
package spool
