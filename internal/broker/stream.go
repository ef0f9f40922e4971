package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A StreamConfig says how a stream is made where there is none. A field that is
// zero has the default that stands beside it.
type StreamConfig struct {
	Shards   int           // 16
	Replicas int           // 1
	MaxBytes int64         // 4 GiB, on each server that has a copy
	MaxAge   time.Duration // 24 h
}

// The defaults of a StreamConfig.
const (
	DefaultShards   = 16
	DefaultReplicas = 1
	DefaultMaxBytes = 4 << 30
	DefaultMaxAge   = 24 * time.Hour
)

// DuplicateWindow is how long the broker remembers what was published in a
// stream that Ensure makes.
const DuplicateWindow = 2 * time.Minute

// Ensure returns the stream, and its largest number of shards. Where there is
// none it makes one:
//
//   - A work queue: what replayers have acknowledged is deleted, so its size is
//     what waits.
//   - When it is full, publishing is refused, so that what is lost is lost at
//     the listener, where it has a name.
//
// One that is there is used as it is, if it takes subjects of the right form.
func Ensure(ctx context.Context, js jetstream.JetStream, name string, cfg StreamConfig) (jetstream.Stream, Shards, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, cfg.stream(name))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another listener, just now
			s, err = js.Stream(ctx, name)
		}
		if err != nil {
			return nil, Shards{}, fmt.Errorf("make the stream %s: %w", name, err)
		}
	}
	if err != nil {
		return nil, Shards{}, fmt.Errorf("look for the stream %s: %w", name, err)
	}
	found, err := CheckSubjects(name, s.CachedInfo().Config.Subjects)
	if err != nil {
		return nil, Shards{}, err
	}
	return s, found[0], nil
}

func (cfg StreamConfig) stream(name string) jetstream.StreamConfig {
	maxAge := cmp.Or(cfg.MaxAge, DefaultMaxAge)
	return jetstream.StreamConfig{
		Name:        name,
		Description: "HTTP messages on their way to kagami's replayers",
		Subjects:    []string{Shards{name, cmp.Or(cfg.Shards, DefaultShards)}.Pattern()},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		MaxBytes:    cmp.Or(cfg.MaxBytes, DefaultMaxBytes),
		MaxAge:      maxAge,
		Replicas:    cmp.Or(cfg.Replicas, DefaultReplicas),
		Duplicates:  min(DuplicateWindow, maxAge),
	}
}

// CheckSubjects returns the numbers of shards for which a stream with these
// subjects has some, the largest first. Having none is an error.
func CheckSubjects(name string, subjects []string) ([]Shards, error) {
	found := FindShards(name, subjects)
	if len(found) == 0 {
		return nil, fmt.Errorf("the stream %s takes the subjects %s, and none of the form %s.16.* (16 is the number of shards): add one with nats stream edit, or name another stream",
			name, strings.Join(subjects, ", "), name)
	}
	return found, nil
}
