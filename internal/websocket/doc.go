// Package websocket finds where the frames of a captured WebSocket connection
// begin and end (RFC 6455 §5), as a bystander: it negotiates nothing, and joins
// no fragments.
//
// A [Framer] is fed the bytes of one direction, in order and cut anywhere, from
// the first one behind the handshake on. It keeps no payload. A connection that was
// joined later, or whose framing broke, can't be followed again: a frame has no
// mark by which it would be found.
//
// Frames are left as they were sent: masked as the client masked them, compressed
// if the two ends agreed on permessage-deflate (RFC 7692), which RSV1 tells.
// [Payload] takes a frame apart, and [Header.Append] begins one.
//
// [Asks] and [Verify] are the client's side of the opening handshake (RFC 6455 §4.1).
package websocket
