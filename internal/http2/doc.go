// Package http2 decodes the bytes of one captured HTTP/2 connection (RFC 9113)
// into messages, as a bystander: it sends nothing, negotiates nothing, and
// knows nothing of packets.
//
// A [Conn] is fed the bytes of both directions, or of one, in order and cut
// anywhere, and tells a [Handler] of each request and each final response.
// A message is rendered in HTTP/1.1 syntax: pseudo-header fields as the start
// line and Host, cookie crumbs joined, a body of known length with
// Content-Length, trailers as those of a chunked body, and nothing that would
// let a field value become another field or another message.
//
// A connection may be joined in the middle. Then frames are found by a chain of
// headers that fit one another, and header blocks are decoded as far as they
// use what was seen since: HPACK (RFC 7541) refers back to fields sent at any
// time before, and a message that needs one of those is [ErrUndecodable].
// Bytes that were lost do the same to the direction they were lost in.
//
// HPACK is decoded here, with the Huffman code of golang.org/x/net/http2/hpack:
// the decoder there ends at the first reference it does not know, and what it
// skipped would make it read later blocks wrongly.
//
// Everything is bounded: a head by 1 MiB, a message and the streams that are
// remembered by the [Config], the bytes that are kept while frames are looked
// for by 64 KiB, an HPACK table by 64 KiB. [Conn.Size] says what is held now.
package http2
