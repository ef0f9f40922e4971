package gor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Errors that a DamageError may wrap, beside io.ErrUnexpectedEOF for a file that
// was cut short and the error of the io.Reader underneath.
var (
	ErrHeader   = errors.New("no record begins here")
	ErrTooLarge = errors.New("the record is too large")
)

// A DamageError says that not all of a recording could be read. Reader.Next
// returns it instead of io.EOF, after all records that are whole.
type DamageError struct {
	// Offset is where the first record that could not be read begins, in bytes
	// (of a compressed file: of what was compressed).
	Offset int64
	// Records is how many stretches were passed over. Each held one record, or
	// several that nothing tells apart any more.
	Records int
	// Err is what is wrong at Offset.
	Err error
}

// Error says where the recording is damaged, and how.
func (e *DamageError) Error() string {
	s := fmt.Sprintf("damaged at byte %d: %v", e.Offset, e.Err)
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		s = fmt.Sprintf("cut short: the record that begins at byte %d has no end", e.Offset)
	}
	if e.Records > 1 {
		s += fmt.Sprintf(" (and in %d more places)", e.Records-1)
	}
	return s
}

// Unwrap returns Err: io.ErrUnexpectedEOF where the recording was cut short.
func (e *DamageError) Unwrap() error { return e.Err }

// A FormatError says that what was read is not a .gor recording.
type FormatError struct {
	// Found is what it seems to be instead.
	Found string
}

// Error says what was found.
func (e *FormatError) Error() string { return "not a recording, but " + e.Found }

// Identify says in a few words what kind of data begins with b, of which 16
// bytes are enough.
func Identify(b []byte) string {
	for _, known := range []struct{ magic, name string }{
		{"\x1f\x8b", "gzip data"},
		{"KGM", "a Kagami recording (.kgm)"},
		{"\xd4\xc3\xb2\xa1", "a pcap file (read captures with --input-raw)"},
		{"\xa1\xb2\xc3\xd4", "a pcap file (read captures with --input-raw)"},
		{"\x4d\x3c\xb2\xa1", "a pcap file (read captures with --input-raw)"},
		{"\xa1\xb2\x3c\x4d", "a pcap file (read captures with --input-raw)"},
		{"\x0a\x0d\x0d\x0a", "a pcapng file (read captures with --input-raw)"},
		{"\x28\xb5\x2f\xfd", "zstd data"},
		{"BZh", "bzip2 data"},
		{"\xfd7zXZ\x00", "xz data"},
		{"PK\x03\x04", "a zip file"},
		{"\x7fELF", "a program"},
		{"HTTP/1.", "an HTTP response"},
		{"{", "JSON"},
		{"[", "JSON"},
	} {
		if bytes.HasPrefix(b, []byte(known.magic)) {
			return known.name
		}
	}
	b = b[:min(len(b), 16)]
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return fmt.Sprintf("data that begins with % x", b)
		}
	}
	return fmt.Sprintf("text that begins with %q", b)
}
