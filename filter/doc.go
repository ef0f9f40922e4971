// Package filter decides which requests go on, and edits those that do.
//
// A [Filter] is a pure function on a message: what it says depends on the
// message alone, so that every process that is asked says the same. There is no
// state, no clock and no random number; limits, which need them, stand at the
// output. [New] makes a [Chain] from rules as users write them, always in this
// order, whatever the order of the rules:
//
//	keep    method, URL, headers, basic auth, header and parameter limiters
//	sample  a share of what was kept: [NewSample]
//	edit    real IP, set header, set parameter, rewrite URL, rewrite header
//
// Redaction of what must not leave the host has its place behind these.
//
// So rules look at a request as it was captured, never at what an edit made of
// it, and nothing is edited that is not sent. A message is never changed: an
// edit returns a new one. The filters read and edit the head alone, byte by
// byte where asked, and never touch a body.
//
// The package neither counts nor settles anything, and answers are not its
// business: they follow their request's fate, which the caller keeps in the
// [kagami.Exchange].
package filter
