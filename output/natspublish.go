package output

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/broker"
)

// run waits for the stream, and then has a goroutine for each shard.
func (n *NATS) run() {
	defer n.wg.Done()
	for failures := 0; ; failures++ {
		shards, err := n.open()
		if err == nil {
			n.opened.Store(true)
			n.tell(nil)
			for i := range shards.N {
				n.wg.Add(1)
				go n.publishShard(shards.Subject(i), i)
			}
			return
		}
		if n.conn.IsConnected() { // else the connection has told why
			n.tell(fmt.Errorf("broker %s: %w", n.cfg.Broker.Address, err))
		}
		if !n.pause(failures) {
			return
		}
	}
}

// open finds the stream, or makes it, and gives the window its shards.
func (n *NATS) open() (broker.Shards, error) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.AckTimeout)
	defer cancel()
	s, shards, err := broker.Ensure(ctx, n.js, n.cfg.Broker.Address.Stream, n.cfg.Stream)
	if err != nil {
		return shards, err
	}
	limits := natsLimits(n.conn.MaxPayload(), int64(s.CachedInfo().Config.MaxMsgSize))
	n.window.open(shards, limits, s.CachedInfo().Config.Duplicates)
	return shards, nil
}

// pause waits before another attempt. It reports false if there is to be none.
func (n *NATS) pause(failures int) bool {
	d := min(n.cfg.MaxBackoff, n.cfg.MinBackoff<<min(failures, 16))
	n.mu.Lock()
	changed := n.changed
	n.mu.Unlock()
	// Between half of it and all, so that many listeners do not come at once.
	t := time.NewTimer(d/2 + time.Duration(n.cfg.Rand()%uint64(d/2+1)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-n.ctx.Done():
		return false
	}
	return true
}

// publishShard publishes the batches of one shard, one after the other.
func (n *NATS) publishShard(subject string, i int) {
	defer n.wg.Done()
	for {
		e, wait := n.window.take(i, time.Now())
		if e == nil {
			var grown <-chan time.Time
			if wait > 0 {
				grown = time.After(wait)
			}
			select {
			case <-n.window.wake(i):
			case <-grown:
			case <-n.ctx.Done():
				return
			}
			continue
		}
		for failures := 0; ; failures++ {
			err := n.publish(subject, e)
			if err == nil || n.refused(e, err) || !n.window.holds(e) {
				break
			}
			n.retries.Add(1)
			if !n.pause(failures) {
				break
			}
		}
		n.window.recycle(e)
		if n.ctx.Err() != nil {
			return
		}
	}
}

// publish publishes a batch, and settles it when the broker has acknowledged it.
func (n *NATS) publish(subject string, e *natsBatch) error {
	id := broker.ID{Listener: n.cfg.ID, Epoch: n.epoch, Shard: e.shard, Batch: e.number}
	m := &nats.Msg{Subject: subject, Data: e.wire, Header: nats.Header{broker.HeaderID: {id.String()}}}
	if n.cfg.Answers {
		m.Header[broker.HeaderAnswers] = []string{"1"}
	}
	if n.window.attempt(e) {
		m.Header[broker.HeaderAgain] = []string{"1"}
	}
	// It is published again here, where a buffer that is used again cannot be
	// what is sent.
	ack, err := n.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(n.cfg.Broker.Address.Stream))
	if err == nil {
		select {
		case <-ack.Ok():
			n.batches.Add(1)
			n.bytes.Add(int64(len(e.wire)))
			n.window.ack(e)
			n.works()
			return nil
		case err = <-ack.Err():
		case <-e.gone:
			return errGivenUp
		}
	}
	if n.conn.IsConnected() {
		n.tell(fmt.Errorf("publish to %s: %w", n.cfg.Broker.Address, err))
	}
	return err
}

var errGivenUp = errors.New("given up")

// tooLargeCode is the broker's error of a message larger than the stream takes.
const tooLargeCode jetstream.ErrorCode = 10054

// refused settles a batch that the broker will not take however often it is
// published, and reports whether it is one.
func (n *NATS) refused(e *natsBatch, err error) bool {
	var api *jetstream.APIError
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == tooLargeCode {
		n.window.drop(e, kagami.TooLarge)
		return true
	}
	return false
}
