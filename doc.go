// Package kagami is the vocabulary of a traffic mirror: what is copied from
// production to staging, and how every copy is accounted for.
//
// A [Message] is one HTTP message as it was seen on the wire. A request and
// the answers to it share an [Exchange], which has an [ID] and remembers what
// became of the request at each output. Messages travel in a [Batch]; whoever
// receives a batch settles each message exactly once, as [Delivered] or with
// the [Reason] it was dropped for. A [Stage] counts what came in and what went
// out, and a [Ledger] says whether the two agree.
//
// The rooms of the house, in the order a message passes them:
//
//	capture   packets → messages
//	filter    keep, sample, edit, redact
//	output    queue, limit, and where messages go: http, tcp, file, …
//	replay    where streamed or recorded messages come from, and when they are due
//
// This package needs the standard library only, and does no input or output
// of its own: it neither logs nor exits nor reads the environment or the clock.
package kagami
