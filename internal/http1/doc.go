// Package http1 reads HTTP/1.x messages off the wire (RFC 9112), as a
// bystander: it finds where messages begin and end, and reads or edits raw
// messages without touching a byte that it was not asked to change.
//
// A [Framer] is fed the bytes of one direction of a connection, in order and
// cut anywhere, and says where each message ends. It keeps no bodies: skipping
// one costs almost nothing. [ParseHead] parses one head that is in memory.
// [LooksLikeRequest] and [LooksLikeResponse] recognise HTTP by its first bytes.
//
// A bystander can't answer 400, so the package accepts what servers in the
// wild accept, and says with [Head].Ambiguous when two recipients might find
// different ends of the same message: whoever sends such a message on, on a
// connection that others use, takes part in request smuggling (RFC 9112 §11.2).
//
// It knows HTTP/1.0 and 1.1. HTTP/0.9 has no version, and the preface of
// HTTP/2 ("PRI * HTTP/2.0") has another one: both are [ErrNotHTTP].
//
// [Header], [Target], [Param], [Body] and their kind read raw messages;
// [SetHeader], [SetTarget], [SetParam] and theirs edit them.
package http1
