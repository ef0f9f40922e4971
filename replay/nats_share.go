package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kagami/internal/broker"
)

// key is a key of the bucket, for this group.
func (n *NATS) key(k string) string { return n.cfg.Group + "." + k }

func (n *NATS) leaseKey(k natsKey) string { return n.key(natsLeaseKey + k.String()) }

// beat says again and again that this replayer lives.
func (n *NATS) beat() {
	defer n.wg.Done()
	tick := time.NewTicker(n.cfg.Beat)
	defer tick.Stop()
	for {
		sent := time.Now()
		ctx, cancel := context.WithTimeout(n.life, n.cfg.Lease/2)
		_, err := n.kv.Put(ctx, n.key(natsMemberKey+n.cfg.ID), []byte(sent.UTC().Format(time.RFC3339)))
		cancel()
		if err == nil {
			n.mu.Lock()
			n.confirmed = sent
			n.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-n.life.Done():
			return
		}
	}
}

// mayEmit reports whether others cannot have taken our shards over yet: they
// count from when they saw our last beat, which was later than we sent it.
func (n *NATS) mayEmit() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.confirmed) < n.cfg.Lease*2/3
}

// watch follows the bucket, and begins anew where that breaks.
func (n *NATS) watch() {
	defer n.wg.Done()
	for n.life.Err() == nil {
		err := n.follow()
		if err != nil && n.conn.IsConnected() && n.life.Err() == nil {
			n.tell(fmt.Errorf("broker %s: watch the replayers: %w", n.cfg.Broker.Address, err))
		}
		select {
		case <-time.After(n.cfg.Beat):
		case <-n.life.Done():
		}
	}
}

func (n *NATS) follow() error {
	w, err := n.kv.Watch(n.life, n.key(">"))
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("it ended")
			}
			if e == nil {
				n.mu.Lock()
				n.roster.known = true
				n.mu.Unlock()
			} else {
				n.see(e)
			}
			natsPoke(n.nudge)
		case <-n.life.Done():
			return nil
		}
	}
}

// see takes in an entry of the bucket.
func (n *NATS) see(e jetstream.KeyValueEntry) {
	value := e.Value()
	if e.Operation() != jetstream.KeyValuePut {
		value = nil
	} else if value == nil {
		value = []byte{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.roster.see(n.cfg.Broker.Address.Stream, strings.TrimPrefix(e.Key(), n.cfg.Group+"."), value, e.Revision(), time.Now())
	if k == nil {
		return
	}
	if w := n.workers[*k]; w != nil {
		w.leased(n.roster.leases[*k])
	}
}

// share takes shards and gives them back, so that all replayers have their part.
func (n *NATS) share() {
	defer n.wg.Done()
	tick := time.NewTicker(n.cfg.Beat)
	defer tick.Stop()
	for ticks := 1; ; {
		select {
		case <-n.nudge:
		case <-tick.C:
			if ticks++; ticks%30 == 0 {
				n.lookForShards()
			}
		case <-n.life.Done():
			return
		}
		n.plan()
	}
}

// lookForShards notices where the stream got another number of shards.
func (n *NATS) lookForShards() {
	ctx, cancel := context.WithTimeout(n.life, n.cfg.Lease)
	defer cancel()
	if info, err := n.stream.Info(ctx); err == nil {
		if found := broker.FindShards(info.Config.Name, info.Config.Subjects); len(found) > 0 {
			n.setShards(found)
		}
	}
}

func (n *NATS) plan() {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Before the first beat came back, nobody knows of us.
	if n.draining || !n.roster.known || n.roster.beats == 0 {
		return
	}
	var held []natsKey
	for k := range n.workers {
		held = append(held, k)
	}
	slices.SortFunc(held, func(a, b natsKey) int { return strings.Compare(a.String(), b.String()) })
	take, give := n.roster.plan(held, time.Now(), n.cfg.Lease)
	for _, k := range give {
		n.workers[k].giveBack()
	}
	for _, k := range take {
		w := newNATSWorker(n, k, n.roster.leases[k])
		n.workers[k] = w
		n.wg.Add(1)
		n.readers.Add(1)
		go w.run()
	}
}

// ended forgets a worker.
func (n *NATS) ended(w *natsWorker) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.workers, w.key)
	natsPoke(n.nudge)
}

// leave gives all shards back, and says that this replayer is gone.
func (n *NATS) leave() {
	n.mu.Lock()
	if n.roster.beats == 0 {
		n.mu.Unlock()
		return // nobody knows of us
	}
	var workers []*natsWorker
	for _, w := range n.workers {
		workers = append(workers, w)
	}
	n.mu.Unlock()
	if !n.conn.IsConnected() {
		return // what is unsettled will be in doubt
	}
	ctx, cancel := context.WithTimeout(n.life, n.cfg.Lease)
	defer cancel()
	done := make(chan struct{})
	for _, w := range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			if w.holds.Load() {
				w.release(ctx)
			}
		}()
	}
	for range workers {
		<-done
	}
	_ = n.kv.Delete(ctx, n.key(natsMemberKey+n.cfg.ID))
}

// putLease writes a shard's key, if it has the revision of l, and returns l with the new one.
func (n *NATS) putLease(ctx context.Context, k natsKey, l natsLease) (natsLease, error) {
	value, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	revision, err := n.kv.Update(ctx, n.leaseKey(k), value, l.revision)
	if err == nil {
		l.revision = revision
		n.mu.Lock()
		n.roster.set(k, l)
		n.mu.Unlock()
	}
	return l, err
}

func natsPoke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
