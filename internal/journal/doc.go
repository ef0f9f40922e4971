// Package journal keeps small facts over restarts: frames of bytes in
// append-only files, in a directory that one process has for itself.
//
// A [Dir] holds numbered files. Each begins with a frame or more that say all
// that is known when it is begun, and goes on with what happens then; so the
// files before it can go as soon as those frames are on disk. A frame is used
// only when its CRC-32C is right: what a crash has left of the last one is
// passed over. What frames say is the caller's own.
//
// Nothing here is for several goroutines at once, but that a File may be synced
// while it is appended to; and nothing waits for the disk but Sync.
package journal
