package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// context is one that is done after the length of a lease, or when the worker stops.
func (w *natsWorker) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.input.life, w.input.cfg.Lease)
}

// take gets the lease, and a consumer of its own. The order is what makes it
// safe to die in between: the lease first, then what the consumer of the one
// before had come to, then that consumer's end.
func (w *natsWorker) take() error {
	n := w.input
	ctx, cancel := w.context()
	defer cancel()
	before := w.lease
	l := before
	l.Holder, l.Clean = n.cfg.ID, before.Holder == "" || before.Clean
	l, err := n.putLease(ctx, w.key, l)
	if err != nil {
		return err
	}
	if before.Consumer != "" {
		info, err := w.infoOf(ctx, before.Consumer)
		if err != nil {
			return err
		}
		if info != nil {
			l.Floor = max(l.Floor, info.AckFloor.Stream)
			if !l.Clean {
				l.Doubt = max(l.Doubt, info.Delivered.Stream)
			}
		}
	}
	if before.Holder != "" && before.Holder != n.cfg.ID {
		n.counts.takenOver.Add(1)
	}
	return w.begin(ctx, l)
}

// infoOf returns what a consumer has come to, nil if there is no such consumer.
func (w *natsWorker) infoOf(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	c, err := w.input.stream.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// begin makes a new consumer, named after the lease, in place of the one before.
func (w *natsWorker) begin(ctx context.Context, l natsLease) error {
	n := w.input
	old := l.Consumer
	l.Consumer, l.Clean = fmt.Sprintf("%s%d", w.consumerPrefix(), l.revision), false
	l, err := n.putLease(ctx, w.key, l)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.lease = l
	w.mu.Unlock()
	if old != "" {
		if err := n.stream.DeleteConsumer(ctx, old); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	cfg := w.consumerConfig(l)
	c, err := n.stream.CreateConsumer(ctx, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == notUniqueCode {
		// Of a replayer that died between these steps.
		if err = w.deleteOthers(ctx, l.Consumer); err == nil {
			c, err = n.stream.CreateConsumer(ctx, cfg)
		}
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.consumer, w.floor = c, max(w.floor, l.Floor)
	for _, seq := range l.Done {
		if w.seen[seq] == nil && seq > w.floor {
			w.seen[seq] = &natsPending{worker: w}
		}
	}
	w.holds.Store(true)
	return nil
}

// notUniqueCode is the broker's error of a second consumer of the same subject
// of a work queue.
const notUniqueCode jetstream.ErrorCode = 10100

func (w *natsWorker) consumerPrefix() string {
	return w.input.cfg.Group + "-" + w.key.String() + "-"
}

func (w *natsWorker) consumerConfig(l natsLease) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       l.Consumer,
		Description:   "kagami replayer " + w.input.cfg.ID,
		FilterSubject: w.key.subject(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       w.input.cfg.AckWait,
		MaxAckPending: w.input.cfg.Unsettled,
		MaxDeliver:    -1,
	}
	// A work queue has no more what was acknowledged.
	if w.input.stream.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy && l.Floor > 0 {
		cfg.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		cfg.OptStartSeq = l.Floor + 1
	}
	return cfg
}

// deleteOthers deletes the group's consumers of the shard but one.
func (w *natsWorker) deleteOthers(ctx context.Context, but string) error {
	names := w.input.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, w.consumerPrefix()) && name != but {
			if err := w.input.stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return err
			}
		}
	}
	return names.Err()
}

// discard deletes the consumer of a lease that was lost, should it be there.
func (w *natsWorker) discard() {
	ctx, cancel := w.context()
	defer cancel()
	w.mu.Lock()
	name := w.lease.Consumer
	w.mu.Unlock()
	_ = w.input.stream.DeleteConsumer(ctx, name)
}

// release gives the shard back, with what is left of it. If that fails, what is
// left is in doubt.
func (w *natsWorker) release(ctx context.Context) {
	w.stopReading()
	if isClosed(w.lost) {
		return
	}
	_ = w.input.conn.FlushWithContext(ctx)
	if info, err := w.consumer.Info(ctx); err == nil {
		w.forget(info.AckFloor.Stream)
	}
	w.mu.Lock()
	l := w.lease
	l.Holder, l.Floor = "", max(l.Floor, w.floor)
	l.Done, l.Rest = w.done(), w.rest()
	w.holds.Store(false)
	w.mu.Unlock()
	for {
		_, err := w.input.putLease(ctx, w.key, l)
		if err == nil || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return
		}
		select {
		case <-time.After(w.input.cfg.Beat / 4):
		case <-ctx.Done():
			return
		}
	}
}
