// Package output is where messages go: to an HTTP target, to a replayer, to a
// file, to a stream of bytes, or nowhere.
//
// Everything that takes messages is an [Output]. What stands before the last
// one is an Output too, so that they are put together like pipes:
//
//	messages ─► Queue ─► Limit ─► HTTP
//
// A [Queue] makes a slow output nobody else's problem: it is bounded in
// messages and in bytes, and either drops what does not fit or makes its
// writer wait. It also waits until a replayed message is due. A [Limit] drops
// requests over a rate. Either may be left out.
//
// Every message that is written to an Output is settled exactly once, as
// delivered or with the reason it was dropped for; see [kagami.Batch].
//
// The package does not decide what is sent: choosing, sampling and editing are
// done before, by package filter. It neither logs nor exits, and reads no
// environment.
package output
