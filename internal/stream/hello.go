package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"kagami"
)

// A stream begins with the listener's hello and the replayer's answer, of the
// same form in every version:
//
//	0  4 bytes "KGM1"
//	4  u8  protocol version
//	5  u8  flags
//	6  u16 length of the fields
//	8  …   fields: u8 type, uvarint length, value
//	…  u32 CRC-32C of all before
const (
	helloMagic = "KGM1"
	helloHead  = 8
	maxHello   = 4096

	// Protocol is the version of the stream that is spoken here.
	Protocol = 1

	flagResponses = 1 // hello
	flagInsecure  = 2
	flagAccepted  = 1 // answer

	helloListener = 1
	helloEpoch    = 2
	helloNext     = 3
	helloHop      = 4
	helloToken    = 5

	answerReceived     = 16
	answerAcknowledged = 17
	answerCode         = 18
	answerText         = 19
	answerLimits       = 20
	answerFeatures     = 21
)

// MaxListener bounds the length of a listener's id, in bytes.
const MaxListener = 255

// MaxToken bounds the length of a listener's token, in bytes.
const MaxToken = 255

// MaxText bounds the length of a sentence to the peer, in bytes.
const MaxText = 1024

// A Hello is what a listener says first.
type Hello struct {
	// Version is the protocol that it speaks; 0 means Protocol.
	Version uint8
	// Listener names it, with up to MaxListener bytes.
	Listener string
	// Epoch is a random number that it has for as long as it runs: the sequence
	// numbers of another epoch are other numbers.
	Epoch uint64
	// Next is the sequence number of the next new record.
	Next uint64
	// Hop is the listener's hop. Batches have theirs too, which is what counts.
	Hop uint8
	// Responses says that answers will come, to be joined to their requests.
	Responses bool
	// Insecure says that its user agreed to send in clear.
	Insecure bool
	// Token is what it proves itself with, with up to MaxToken bytes; "" for
	// nothing. It is sent over TLS only.
	Token string
}

// An Answer is what the replayer says to a hello.
type Answer struct {
	// Version is the protocol that it speaks; 0 means Protocol.
	Version uint8
	// Received is the number of the last record that it has of this listener and
	// epoch, 0 if none: what comes after it is to be sent.
	Received uint64
	// Acknowledged is the number up to which all records are settled.
	Acknowledged uint64
	// Limits are what it takes. A zero field means the default.
	Limits Limits
	// Features are what it understands beyond the first version.
	Features Features
	// Refused is nil if the listener is accepted.
	Refused *Refusal
}

// Features are what a replayer understands beyond what every version does: bits.
type Features uint32

// The features.
const (
	// FeatureZstd: batches may be compressed.
	FeatureZstd Features = 1 << iota
	// FeatureInDoubt: a message with [kagami.Doubtful] is treated as one of which it is
	// not known whether it was delivered.
	FeatureInDoubt
)

// Has reports whether all features of g are among f.
func (f Features) Has(g Features) bool { return f&g == g }

// A Code says why one side ends a stream.
type Code uint8

// The codes.
const (
	CodeNone         Code = 0 // done
	CodeProtocol     Code = 1 // a version or a frame that is not understood
	CodeInsecure     Code = 2 // in clear, and that was not agreed to
	CodeUnauthorized Code = 3 // no or wrong credentials
	CodeBusy         Code = 4 // too many listeners
	CodeClosing      Code = 5 // it is shutting down
	CodeDamaged      Code = 6 // a batch that could not be read
)

// Lasting reports whether trying again is of no use until somebody has changed
// something.
func (c Code) Lasting() bool {
	return c == CodeProtocol || c == CodeInsecure || c == CodeUnauthorized
}

// A Refusal is the error with which a peer refuses or ends a stream.
type Refusal struct {
	Code Code
	// Text is a sentence for people, with what to do.
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// ErrNotStream is what is returned for a peer that does not speak this protocol.
var ErrNotStream = errors.New("not a Kagami stream")

// AppendHello appends h to b.
func AppendHello(b []byte, h Hello) []byte {
	start := len(b)
	var flags byte
	if h.Responses {
		flags |= flagResponses
	}
	if h.Insecure {
		flags |= flagInsecure
	}
	b = appendHelloHead(b, h.Version, flags)
	b = appendField(b, helloListener, h.Listener[:min(len(h.Listener), MaxListener)])
	b = appendUint64(b, helloEpoch, h.Epoch)
	b = appendUint64(b, helloNext, h.Next)
	b = append(b, helloHop, 1, h.Hop)
	if h.Token != "" {
		b = appendField(b, helloToken, h.Token[:min(len(h.Token), MaxToken)])
	}
	return finishHello(b, start)
}

// AppendAnswer appends a to b.
func AppendAnswer(b []byte, a Answer) []byte {
	start := len(b)
	if a.Refused != nil {
		b = appendHelloHead(b, a.Version, 0)
		b = append(b, answerCode, 1, byte(a.Refused.Code))
		return finishHello(appendField(b, answerText, clip(a.Refused.Text)), start)
	}
	limits := a.Limits.withDefaults()
	b = appendHelloHead(b, a.Version, flagAccepted)
	b = appendUint64(b, answerReceived, a.Received)
	b = appendUint64(b, answerAcknowledged, a.Acknowledged)
	b = append(b, answerLimits, 12)
	b = binary.BigEndian.AppendUint32(b, uint32(limits.Record))
	b = binary.BigEndian.AppendUint32(b, uint32(limits.Batch))
	b = binary.BigEndian.AppendUint32(b, uint32(limits.Records))
	if a.Features != 0 {
		b = append(b, answerFeatures, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(a.Features))
	}
	return finishHello(b, start)
}

func appendHelloHead(b []byte, version, flags byte) []byte {
	if version == 0 {
		version = Protocol
	}
	return append(append(b, helloMagic...), version, flags, 0, 0)
}

func appendField(b []byte, field byte, v string) []byte {
	b = binary.AppendUvarint(append(b, field), uint64(len(v)))
	return append(b, v...)
}

func appendUint64(b []byte, field byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, field, 8), v)
}

func finishHello(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+6:], uint16(len(b)-start-helloHead))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// ReadHello reads a listener's hello. The error is ErrNotStream, with a hint
// at what it may be instead, if the peer speaks something else, and io.EOF if
// it closed the connection without a word.
func ReadHello(r io.Reader) (Hello, error) {
	var h Hello
	version, flags, fields, err := readHello(r)
	if err != nil {
		return h, err
	}
	h.Version, h.Responses, h.Insecure = version, flags&flagResponses != 0, flags&flagInsecure != 0
	err = eachField(fields, func(field byte, v []byte) error {
		var err error
		switch field {
		case helloListener:
			h.Listener = plain(v, MaxListener)
		case helloEpoch:
			h.Epoch, err = fieldUint64(v)
		case helloNext:
			h.Next, err = fieldUint64(v)
		case helloHop:
			if len(v) != 1 {
				return fmt.Errorf("hop of %d bytes in a hello", len(v))
			}
			h.Hop = v[0]
		case helloToken:
			if len(v) > MaxToken {
				return fmt.Errorf("token of %d bytes in a hello", len(v))
			}
			h.Token = string(v)
		}
		return err
	})
	if err == nil && h.Listener == "" {
		err = errors.New("hello without the listener's id")
	}
	return h, err
}

// ReadAnswer reads a replayer's answer. Errors are those of ReadHello; a
// refusal is none, but in Answer.Refused.
func ReadAnswer(r io.Reader) (Answer, error) {
	var a Answer
	version, flags, fields, err := readHello(r)
	if err != nil {
		return a, err
	}
	a.Version = version
	refusal := Refusal{Text: "the replayer gave no reason"}
	err = eachField(fields, func(field byte, v []byte) error {
		var err error
		switch field {
		case answerReceived:
			a.Received, err = fieldUint64(v)
		case answerAcknowledged:
			a.Acknowledged, err = fieldUint64(v)
		case answerCode:
			if len(v) != 1 {
				return fmt.Errorf("code of %d bytes in an answer", len(v))
			}
			refusal.Code = Code(v[0])
		case answerText:
			refusal.Text = plain(v, MaxText)
		case answerLimits:
			a.Limits, err = parseLimits(v)
		case answerFeatures:
			if len(v) < 4 {
				return fmt.Errorf("features of %d bytes in an answer", len(v))
			}
			a.Features = Features(binary.BigEndian.Uint32(v))
		}
		return err
	})
	if flags&flagAccepted == 0 {
		a.Refused = &refusal
	}
	a.Limits = a.Limits.withDefaults()
	return a, err
}

func parseLimits(v []byte) (Limits, error) {
	if len(v) != 12 {
		return Limits{}, fmt.Errorf("limits of %d bytes in an answer", len(v))
	}
	// More than the defaults is never sent, whatever the peer would take.
	return Limits{
		Record:  int(min(binary.BigEndian.Uint32(v), DefaultMaxRecord)),
		Batch:   int(min(binary.BigEndian.Uint32(v[4:]), DefaultMaxBatch)),
		Records: int(min(binary.BigEndian.Uint32(v[8:]), DefaultMaxRecords)),
	}, nil
}

func readHello(r io.Reader) (version, flags byte, fields []byte, err error) {
	head := make([]byte, helloHead, 128)
	n, err := io.ReadFull(r, head)
	if string(head[:min(n, 4)]) != helloMagic[:min(n, 4)] {
		return 0, 0, nil, notStream(head[:n])
	}
	if err != nil {
		if n > 0 {
			err = noEOF(err)
		}
		return 0, 0, nil, err
	}
	length := int(binary.BigEndian.Uint16(head[6:]))
	if length > maxHello {
		return 0, 0, nil, fmt.Errorf("hello of %d bytes: %w, the limit is %d", length, ErrTooLarge, maxHello)
	}
	all := append(head, make([]byte, length+4)...)
	if _, err := io.ReadFull(r, all[helloHead:]); err != nil {
		return 0, 0, nil, noEOF(err)
	}
	body := all[:helloHead+length]
	if binary.BigEndian.Uint32(all[len(body):]) != crc32.Checksum(body, castagnoli) {
		return 0, 0, nil, errors.New("hello with a wrong CRC-32C: bytes were changed on the way")
	}
	return head[4], head[5], body[helloHead:], nil
}

// notStream guesses what the peer is.
func notStream(start []byte) error {
	hint := ""
	switch {
	case start[0] == 0x16:
		hint = ": it looks like TLS"
	case len(start) > 1 && start[0] >= '1' && start[0] <= '3' && start[1] == ' ':
		hint = ": it looks like a GoReplay listener, and only kagami's own can stream to a replayer"
	case bytes.HasPrefix(start, []byte("HTTP/")):
		hint = ": it looks like an HTTP server, is the address that of a replayer's --input-tcp?"
	case start[0] >= 'A' && start[0] <= 'Z' && bytes.IndexByte(start, ' ') > 0:
		hint = ": it looks like an HTTP client"
	}
	return fmt.Errorf("%w%s (it begins with %.16q)", ErrNotStream, hint, start)
}

func eachField(fields []byte, f func(field byte, v []byte) error) error {
	for len(fields) > 0 {
		length, n := binary.Uvarint(fields[1:])
		if n <= 0 || length > uint64(len(fields)-1-n) {
			return fmt.Errorf("field %d does not fit its hello", fields[0])
		}
		end := 1 + n + int(length)
		if err := f(fields[0], fields[1+n:end]); err != nil {
			return err
		}
		fields = fields[end:]
	}
	return nil
}

func fieldUint64(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("number of %d bytes in a hello", len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// plain returns text from a peer as it can be shown: valid, of bounded length
// and without control characters.
func plain(v []byte, limit int) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(v[:min(len(v), limit)]))
}

// clip cuts a text to MaxText bytes, between characters.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	n := MaxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Reason is what becomes of messages that were never sent because of the refusal.
func (r *Refusal) Reason() kagami.Reason {
	switch r.Code {
	case CodeInsecure, CodeUnauthorized:
		return kagami.Unauthorized
	case CodeProtocol:
		return kagami.SendError
	}
	return kagami.DrainTimeout
}
