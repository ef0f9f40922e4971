package replay

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	"kagami/internal/broker"
	"kagami/internal/stream"
)

// A NATSConfig says which stream to take from, and how. A field that is zero
// has the default that stands beside it.
type NATSConfig struct {
	// Broker says where the stream is and how to connect.
	Broker broker.Config
	// Group is the name under which replayers share the stream: "kagami".
	Group string
	// ID tells this replayer from the others of the group: the host's name and a
	// random number.
	ID string
	// Speed, if it is more than 0, plays the traffic back as it was recorded, so
	// many times as fast. 0 hands on what is there at once.
	Speed float64
	// DropInDoubt drops what may have been sent already by a replayer that died,
	// as [kagami.InDoubt]. Without it, it is sent again, with [kagami.Doubtful].
	DropInDoubt bool

	// Memory bounds the bytes that are taken in and not settled: 64 MiB. One
	// message of the stream is let in whatever its size.
	Memory int64
	// Unsettled bounds, for each shard, the messages of the stream that are taken
	// in and not settled: 64.
	Unsettled int
	// Limits bound records and batches: see [stream.Limits].
	Limits stream.Limits
	// MaxExchanges and ExchangeAge bound which requests are remembered, over all
	// shards, to join answers to them: 262144, and as in [Exchanges].
	MaxExchanges int
	ExchangeAge  time.Duration

	// Beat is how often the replayer says that it lives: 1 s.
	Beat time.Duration
	// Lease is how long a replayer may be silent before others take its shards
	// over: 6 s, and never before they said six times themselves that they live.
	Lease time.Duration
	// AckWait is how long the broker waits for a sign of life about a message: 30 s.
	AckWait time.Duration

	// Notify, if set, is told of each change: nil when the stream can be read,
	// else why not. It is called from several goroutines and must not block.
	Notify func(error)
}

// The defaults of a NATSConfig.
const (
	DefaultNATSGroup     = "kagami"
	DefaultNATSMemory    = 64 << 20
	DefaultNATSUnsettled = 64
	DefaultNATSExchanges = 262144
	DefaultNATSBeat      = time.Second
	DefaultNATSLease     = 6 * time.Second
	DefaultNATSAckWait   = 30 * time.Second
)

func (cfg *NATSConfig) setDefaults() error {
	if err := cfg.Broker.Validate(); err != nil {
		return err
	}
	if cfg.Group == "" {
		cfg.Group = DefaultNATSGroup
	}
	if !broker.IsName(cfg.Group) {
		return fmt.Errorf("group %q: want letters, digits, - and _, at most 64", cfg.Group)
	}
	if cfg.ID == "" {
		cfg.ID = natsID()
	}
	if !broker.IsName(cfg.ID) {
		return fmt.Errorf("replayer %q: want letters, digits, - and _, at most 64", cfg.ID)
	}
	setDefault(&cfg.Memory, DefaultNATSMemory)
	setDefault(&cfg.Unsettled, DefaultNATSUnsettled)
	setDefault(&cfg.MaxExchanges, DefaultNATSExchanges)
	setDefault(&cfg.Beat, DefaultNATSBeat)
	setDefault(&cfg.Lease, DefaultNATSLease)
	setDefault(&cfg.AckWait, DefaultNATSAckWait)
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
	return nil
}

// natsID is the host's name, as far as a key may have it, and a random number.
func natsID() string {
	name, _ := os.Hostname()
	name = regexp.MustCompile(`[^A-Za-z0-9-]`).ReplaceAllString(name, "-")
	if len(name) > 40 {
		name = name[:40]
	}
	return fmt.Sprintf("%s-%08x", name, rand.Uint32())
}

// NATSStats counts since the input began.
type NATSStats struct {
	Shards    int   // held at the moment
	Replayers int   // of the group that live, this one included
	Backlog   int64 // messages of the stream (batches) that wait in the shards held
	InDoubt   int64 // messages that a replayer which died may have sent already
	Duplicate int64 // messages that were published twice, and left out
	TakenOver int64 // shards taken over from replayers that died
}

type natsCounts struct {
	inDoubt, duplicate, takenOver atomic.Int64
}

// Stats counts what happened to the shards.
func (n *NATS) Stats() NATSStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := NATSStats{
		InDoubt: n.counts.inDoubt.Load(), Duplicate: n.counts.duplicate.Load(), TakenOver: n.counts.takenOver.Load(),
		Replayers: n.roster.living(time.Now(), n.cfg.Lease),
	}
	for _, w := range n.workers {
		if w.holds.Load() {
			s.Shards++
			s.Backlog += w.backlog.Load()
		}
	}
	return s
}
