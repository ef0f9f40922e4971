package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kagami/internal/broker"
)

// A natsKey names a shard of a stream.
type natsKey struct {
	broker.Shards
	i int
}

func (k natsKey) subject() string { return k.Subject(k.i) }

// String is the shard as keys and consumers have it: NUMBER-OF-SHARDS-SHARD.
func (k natsKey) String() string { return fmt.Sprintf("%d-%d", k.N, k.i) }

// A natsLease is the value of a shard's key in the bucket.
type natsLease struct {
	// Holder is the replayer that holds the shard; "" none, and what was
	// unsettled is known not to have been sent.
	Holder string `json:"holder"`
	// Consumer is the holder's consumer, or the last one's.
	Consumer string `json:"consumer,omitempty"`
	// Clean says that the holder has a lease and no consumer of its own yet, and
	// that the one before left nothing in doubt.
	Clean bool `json:"clean,omitempty"`
	// Floor is the sequence number in the stream up to which all is settled.
	Floor uint64 `json:"floor,omitempty"`
	// Doubt is that up to which what is not settled may have been sent.
	Doubt uint64 `json:"doubt,omitempty"`
	// Done are messages above Floor that are settled, where the broker may not
	// know of it.
	Done []uint64 `json:"done,omitempty"`
	// Rest has, of messages that were settled in part when a replayer had to end,
	// which of their records are left.
	Rest map[uint64][]int `json:"rest,omitempty"`

	revision uint64
}

// A roster is what is known of the replayers of a group and of who holds what.
// It is fed with the keys of the bucket in the order in which they were
// written, and starts no goroutine.
//
// Whether another replayer lives is told by counting: it is dead if for the
// length of a lease nothing came of it, while so many beats of our own came
// back through the bucket. So a bucket that nobody can write to for a while, as
// when its leader is elected, kills nobody.
type roster struct {
	me      string
	keys    []natsKey // all shards of the stream
	members map[string]*natsMember
	leases  map[natsKey]natsLease
	beats   int  // of ours that came back
	known   bool // all that was in the bucket has been seen
}

// A natsMember is another replayer.
type natsMember struct {
	seen  time.Time
	beats int // of ours, when it was seen
}

// deadBeats is how many beats of our own have to come back while nothing comes
// of another.
const deadBeats = 6

func newRoster(me string) *roster {
	return &roster{me: me, members: map[string]*natsMember{}, leases: map[natsKey]natsLease{}}
}

// The keys of the bucket, behind the group's name and a dot.
const (
	natsMemberKey = "replayer."
	natsLeaseKey  = "shard."
)

// see takes in an entry of the bucket: its key without the group, its value,
// nil if it was deleted.
func (r *roster) see(stream, key string, value []byte, revision uint64, now time.Time) (changed *natsKey) {
	if id, ok := strings.CutPrefix(key, natsMemberKey); ok {
		switch {
		case id == r.me:
			r.beats++
		case value == nil:
			delete(r.members, id)
		default:
			r.members[id] = &natsMember{now, r.beats}
		}
		return nil
	}
	k, ok := parseNATSKey(stream, strings.TrimPrefix(key, natsLeaseKey))
	if !ok {
		return nil
	}
	l := natsLease{revision: revision}
	if value != nil && json.Unmarshal(value, &l) != nil {
		return nil
	}
	l.revision = revision
	r.set(k, l)
	return &k
}

// set notes a lease, unless a later one is known.
func (r *roster) set(k natsKey, l natsLease) {
	if l.revision >= r.leases[k].revision {
		r.leases[k] = l
	}
}

func parseNATSKey(stream, s string) (natsKey, bool) {
	number, shard, ok := strings.Cut(s, "-")
	n, err1 := strconv.Atoi(number)
	i, err2 := strconv.Atoi(shard)
	return natsKey{broker.Shards{Stream: stream, N: n}, i}, ok && err1 == nil && err2 == nil
}

// lives reports whether a replayer lives, as far as is known.
func (r *roster) lives(id string, now time.Time, lease time.Duration) bool {
	if id == r.me {
		return true
	}
	m := r.members[id]
	return m != nil && (now.Sub(m.seen) < lease || r.beats-m.beats < deadBeats)
}

// living is how many replayers live.
func (r *roster) living(now time.Time, lease time.Duration) int {
	n := 1
	for id := range r.members {
		if r.lives(id, now, lease) {
			n++
		}
	}
	return n
}

// free reports whether nobody holds a shard, or one who does not live.
func (r *roster) free(k natsKey, now time.Time, lease time.Duration) bool {
	l := r.leases[k]
	if l.Holder == "" {
		return true
	}
	if r.members[l.Holder] == nil && l.Holder != r.me {
		// Of a holder that was never seen alive: it has as long as any other.
		r.members[l.Holder] = &natsMember{now, r.beats}
		return false
	}
	return l.Holder == r.me || !r.lives(l.Holder, now, lease)
}

// plan says which shards to take and which to give back, where held are ours.
// Each living replayer may hold its part of them, rounded up. Who has more
// gives back, and who has less takes what is free. What is ours by its lease and
// not held, for giving it back failed, is taken to be given back again.
func (r *roster) plan(held []natsKey, now time.Time, lease time.Duration) (take, give []natsKey) {
	for _, k := range r.keys {
		if r.leases[k].Holder == r.me && !slices.Contains(held, k) {
			take = append(take, k)
		}
	}
	n := r.living(now, lease)
	most := (len(r.keys) + n - 1) / n
	if len(held) > most {
		return take, held[most:]
	}
	// Not all from the front, where others look too.
	first := 0
	for _, c := range r.me {
		first = first*31 + int(c)
	}
	for j := range r.keys {
		if len(held)+len(take) >= most {
			break
		}
		k := r.keys[(j+(first&0xffff))%len(r.keys)]
		if !slices.Contains(held, k) && !slices.Contains(take, k) && r.free(k, now, lease) {
			take = append(take, k)
		}
	}
	return take, nil
}
