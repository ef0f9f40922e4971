// Package broker is what both ends of a NATS JetStream stream have in common:
// how it is named in an address, how to connect to it, which subjects carry
// what, and what stands in the headers of a message. docs/format.md has the
// layout; the payload of a message is a batch of package stream.
//
//	STREAM.SHARDS.SHARD    the subject: shard SHARD of SHARDS, from 0
//
// The number of shards is part of the subjects, so whoever reads a stream knows
// it from the stream itself, and it can be changed while messages wait: the old
// subjects are read to their end beside the new ones.
//
// The package neither publishes nor consumes: output.NATS and replay.NATS do.
package broker
