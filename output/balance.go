package output

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// A BalanceConfig says how replayers share an output's messages.
type BalanceConfig struct {
	// Queue is that of each replayer: a slow one is not the others' problem. Its Index is that of the output.
	Queue QueueConfig
	// FailoverAfter is how long a replayer may be away before its share goes to the others, with what it has not
	// acknowledged; 0 is for ever.
	FailoverAfter time.Duration
	// Name is what the ledger calls the output.
	Name string
	// Notify, if set, is told when a replayer's share begins to go to the others (away), with the number of messages moved
	// at once and how many of them are in doubt, and when it comes back. It must not block.
	Notify func(address string, away bool, moved, doubtful int)
}

// A Balance is an Output that shares messages out among replayers: by a hash of the client's end of the
// connection, so that the messages of one connection go to one replayer. What has no client, and staging's
// answers, go by the exchange's ID.
//
// What a replayer has not acknowledged stays with it while it is away, and so does what comes for it: in its
// spool, or in its window and queue. After FailoverAfter both go to the others: what was never sent as it is, and what
// may have been delivered with [kagami.Doubtful], if the other replayer knows what to do with it; else it is
// dropped as [kagami.InDoubt].
type Balance struct {
	cfg      BalanceConfig
	members  []*balanced
	failover *kagami.Stage // what moved from one spool to another
	quit     context.CancelFunc
	quitted  chan struct{}

	mu  sync.Mutex
	ctx context.Context // of the last Write
}

// A balanced is a replayer of a Balance.
type balanced struct {
	tcp   *TCP
	queue *Queue
	away  atomic.Bool // its share goes to the others
}

var _ Output = (*Balance)(nil)

// NewBalance returns an output that shares messages among replayers, of which all have a spool or none.
// It owns them from here on.
func NewBalance(cfg BalanceConfig, members ...*TCP) *Balance {
	b := &Balance{cfg: cfg, quitted: make(chan struct{}),
		failover: &kagami.Stage{Name: "failover", Of: cfg.Name, Unit: kagami.Messages}}
	if b.cfg.Notify == nil {
		b.cfg.Notify = func(string, bool, int, int) {}
	}
	for _, t := range members {
		b.members = append(b.members, &balanced{tcp: t, queue: NewQueue(t, cfg.Queue)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.quit, b.ctx = cancel, ctx
	go b.watch(ctx)
	return b
}

// Members are the replayers.
func (b *Balance) Members() []*TCP {
	all := make([]*TCP, len(b.members))
	for i, m := range b.members {
		all[i] = m.tcp
	}
	return all
}

// Failover is the ledger's line of what went from one spool to another.
func (b *Balance) Failover() *kagami.Stage { return b.failover }

// InFlight is how many messages the replayers' queues and windows hold.
func (b *Balance) InFlight() (n int64) {
	for _, m := range b.members {
		n += m.queue.InFlight()
	}
	return n
}

// Write gives each message to one of the replayers' queues.
func (b *Balance) Write(ctx context.Context, batch kagami.Batch) error {
	b.mu.Lock()
	b.ctx = ctx
	b.mu.Unlock()
	return b.share(batch, func(k int, part kagami.Batch) error { return b.members[k].queue.Write(ctx, part) })
}

// share calls give for each replayer that has a part in the batch.
func (b *Balance) share(batch kagami.Batch, give func(k int, part kagami.Batch) error) error {
	parts := make([]kagami.Batch, len(b.members))
	index := make([][]int, len(b.members))
	for i, m := range batch.Messages {
		k := b.place(m)
		parts[k].Messages = append(parts[k].Messages, m)
		index[k] = append(index[k], i)
	}
	var errs []error
	for k, part := range parts {
		if len(part.Messages) == 0 {
			continue
		}
		if settle := batch.Settle; settle != nil {
			part.Settle = func(i int, r kagami.Reason) { settle(index[k][i], r) }
		}
		errs = append(errs, give(k, part))
	}
	return errors.Join(errs...)
}

// place returns the number of the replayer that m goes to.
func (b *Balance) place(m *kagami.Message) int {
	h := kagami.Salt(0).ID(m.Exchange.ID)
	if m.Kind != kagami.Replayed && m.Client.IsValid() {
		h = kagami.Salt(0).Connection(m.Client)
	}
	n := uint32(len(b.members))
	k := uint32(h) % n
	if !b.members[k].away.Load() {
		return int(k)
	}
	var there []int
	for i, m := range b.members {
		if !m.away.Load() {
			there = append(there, i)
		}
	}
	if len(there) == 0 {
		return int(k)
	}
	return there[uint32(h)/n%uint32(len(there))]
}

// watch looks after replayers that are away, until ctx is done.
func (b *Balance) watch(ctx context.Context) {
	defer close(b.quitted)
	if b.cfg.FailoverAfter <= 0 {
		return
	}
	ticker := time.NewTicker(max(time.Millisecond, min(b.cfg.FailoverAfter/4, 250*time.Millisecond)))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, m := range b.members {
				b.look(ctx, m)
			}
		case <-ctx.Done():
			return
		}
	}
}

// look moves what m holds to the others if m is away for too long.
func (b *Balance) look(ctx context.Context, m *balanced) {
	was, is := m.away.Load(), m.tcp.awayFor() >= b.cfg.FailoverAfter
	if is && !slices.ContainsFunc(b.members, func(o *balanced) bool { return o != m && o.tcp.awayFor() == 0 }) {
		return // nobody is there to take it
	}
	m.away.Store(is)
	if !is {
		if was {
			b.cfg.Notify(m.tcp.cfg.Address, false, 0, 0)
		}
		return
	}
	moved, doubtful := 0, 0
	for ctx.Err() == nil {
		n, d, more := b.move(m)
		moved, doubtful = moved+n, doubtful+d
		if !more {
			break
		}
	}
	if !was || moved > 0 {
		b.cfg.Notify(m.tcp.cfg.Address, true, moved, doubtful)
	}
}

// move moves a batch of m to the others. more is false when there is none, or they have no room.
func (b *Balance) move(m *balanced) (moved, doubtful int, more bool) {
	b.mu.Lock()
	ctx := b.ctx
	b.mu.Unlock()
	for _, o := range b.members {
		if !o.away.Load() && (o.tcp.awayFor() > 0 || !o.tcp.store.hasRoom()) {
			return 0, 0, false // where it would be no better off, or have to wait
		}
	}
	if ctx.Err() != nil {
		return 0, 0, false
	}
	more = m.tcp.handOver(func(batch kagami.Batch, sent bool) error {
		if m.tcp.spooled() != nil {
			b.failover.In(len(batch.Messages))
			batch.Settle = func(_ int, r kagami.Reason) { b.failover.Settle(r) }
		}
		moved += len(batch.Messages)
		return b.share(batch, func(k int, part kagami.Batch) error {
			to := b.members[k].tcp
			if sent {
				doubtful += len(part.Messages)
				if !to.knowsDoubt() {
					part.DoneAll(kagami.InDoubt)
					return nil
				}
				for _, x := range part.Messages {
					x.Flags |= kagami.Doubtful
				}
			}
			return to.Write(ctx, part)
		})
	})
	return moved, doubtful, more
}

// Close sends what the queues hold, as long as the context of the last Write allows, and closes the replayers' streams.
func (b *Balance) Close() error {
	b.quit()
	<-b.quitted
	b.mu.Lock()
	ctx := b.ctx
	b.mu.Unlock()
	errs := make([]error, len(b.members))
	var wg sync.WaitGroup
	for i, m := range b.members {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// That time ran out is in the ledger, message by message.
			if err := m.queue.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("replayer %s: %w", m.tcp.cfg.Address, err)
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}
