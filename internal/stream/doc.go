// Package stream is Kagami's own encoding of messages: one for the wire between
// listener and replayer, for .kgm files and for what goes through a broker.
// docs/format.md specifies it to the byte.
//
//	record   one message: a fixed head and fields of type, length and value
//	batch    records that travel as one: magic, version, hop, sequence, CRC-32C
//	file     a head and batches (FileWriter, FileReader)
//	stream   hello, its answer, then batches one way and acknowledgements back
//
// What a version of the format must know to read on, it says in a version or
// a flag, and a reader that does not know it says so. All else can be skipped:
// unknown fields are, and records of an unknown kind are skipped and counted.
//
// Readers take bytes from outside: every length is checked against [Limits]
// before anything is allocated for it, and memory grows with what was
// received, not with what was announced.
//
// The package opens no connection and no file, and starts no goroutine: that
// is for output.TCP and replay.Server.
package stream
