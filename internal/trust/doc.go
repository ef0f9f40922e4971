// Package trust decides who may stream to a replayer, and to which replayer a
// listener streams: TLS 1.3 (RFC 8446) with one of two ways to know the other.
//
//	join file      the replayer makes its own key; the listener knows it by the
//	               SHA-256 of its certificate, and proves itself with a token
//	certificates   both sides have one from an authority that both know
//
// A [Dir] is what a replayer keeps: its key, and a hash of each token. A [Join]
// is what a listener needs. [Files] are certificates that somebody else makes
// and renews. A [Server] and a [Client] are the two ends of a handshake.
//
// The package makes no connection, and starts no goroutine.
package trust

import "errors"

// ErrUntrusted is wrapped by the errors that say that the peer is not the one
// it should be, or has not shown that it is.
var ErrUntrusted = errors.New("not trusted")

// ALPN is the name of the protocol inside of TLS (RFC 7301). It keeps a client of
// another protocol, and a server of one, from taking this for theirs.
const ALPN = "kagami/1"
