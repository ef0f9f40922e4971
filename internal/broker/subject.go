package broker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kagami"
)

// MaxShards bounds the number of shards: each is a consumer at the broker.
const MaxShards = 1024

// Shards are the subjects of one stream and one number of shards.
type Shards struct {
	Stream string
	N      int
}

// Pattern matches the subjects of all shards.
func (s Shards) Pattern() string { return fmt.Sprintf("%s.%d.*", s.Stream, s.N) }

// Subject is that of the i-th shard, 0 ≤ i < N.
func (s Shards) Subject(i int) string { return fmt.Sprintf("%s.%d.%d", s.Stream, s.N, i) }

// salt tells the hash that chooses a shard from those that choose samples: in
// the same hash a sample of a tenth would fill a tenth of the shards.
const salt kagami.Salt = 0x73686172 // "shar"

// Of returns the shard of a message that was captured: that of its client's end
// of the connection, or, where that is not known, of its exchange. So what
// belongs to one connection has one shard, and answers that of their request.
func (s Shards) Of(m *kagami.Message) int {
	h := uint32(0)
	if m.Client.IsValid() {
		h = salt.Connection(m.Client)
	} else {
		h = salt.ID(m.Exchange.ID)
	}
	return int(uint64(h) * uint64(s.N) >> 32)
}

// FindShards returns the numbers of shards for which a stream has subjects, the
// largest first. subjects are those of the stream's configuration.
func FindShards(stream string, subjects []string) []Shards {
	var found []Shards
	for _, subject := range subjects {
		part := strings.Split(subject, ".")
		if len(part) != 3 || part[0] != stream || part[2] != "*" {
			continue
		}
		if n, err := strconv.Atoi(part[1]); err == nil && n >= 1 && n <= MaxShards {
			found = append(found, Shards{stream, n})
		}
	}
	slices.SortFunc(found, func(a, b Shards) int { return b.N - a.N })
	return slices.Compact(found)
}

// An ID tells one batch of one listener from all others. It is the message's
// Nats-Msg-Id, by which the broker leaves out what is published twice.
type ID struct {
	// Listener is the listener's name, 1 to 255 bytes, and Epoch is drawn at
	// random when it starts.
	Listener string
	Epoch    uint64
	// Batch counts the batches of a shard, from 1.
	Shard int
	Batch uint64
}

// The headers of a message.
const (
	// HeaderID is an ID.
	HeaderID = "Nats-Msg-Id"
	// HeaderAnswers is there where production's answers come too.
	HeaderAnswers = "Kagami-Answers"
	// HeaderAgain is there where the message may have been published before, so
	// long ago that the broker does not remember.
	HeaderAgain = "Kagami-Again"
)

// String is the ID as it stands in the header: LISTENER.EPOCH.SHARD.BATCH, the epoch in hexadecimal.
func (id ID) String() string {
	return fmt.Sprintf("%s.%016x.%d.%d", id.Listener, id.Epoch, id.Shard, id.Batch)
}

// ParseID is the opposite of String.
func ParseID(s string) (id ID, err error) {
	var field [3]string
	for i := range field {
		cut := strings.LastIndexByte(s, '.')
		if cut < 0 {
			return id, errors.New("want LISTENER.EPOCH.SHARD.BATCH")
		}
		s, field[i] = s[:cut], s[cut+1:]
	}
	id.Listener = s
	if len(s) == 0 || len(s) > maxListener {
		return id, fmt.Errorf("listener of %d bytes: want 1 to %d", len(s), maxListener)
	}
	if len(field[2]) != 16 {
		return id, fmt.Errorf("epoch %.20q: want 16 hexadecimal digits", field[2])
	}
	if id.Epoch, err = strconv.ParseUint(field[2], 16, 64); err != nil {
		return id, fmt.Errorf("epoch %q: want 16 hexadecimal digits", field[2])
	}
	shard, err := strconv.ParseUint(field[1], 10, 16)
	if err != nil {
		return id, fmt.Errorf("shard %.20q: want a number", field[1])
	}
	id.Shard = int(shard)
	if id.Batch, err = strconv.ParseUint(field[0], 10, 64); err != nil {
		return id, fmt.Errorf("batch %.20q: want a number", field[0])
	}
	return id, nil
}

// maxListener is how long a listener's name may be, as in a hello.
const maxListener = 255

// PlainName is a listener's name as a header can have it: without control
// characters, and not too long.
func PlainName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, name)
	if len(name) > maxListener {
		name = name[:maxListener]
	}
	if name == "" {
		return "listener"
	}
	return name
}
