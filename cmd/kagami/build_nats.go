package main

import (
	"fmt"
	"slices"

	"kagami/internal/broker"
	"kagami/output"
	"kagami/replay"
)

// A subscriber is an input from a broker, and what it counts.
type subscriber struct {
	name  string
	stats func() replay.NATSStats
}

// newNATSOutput begins to publish to a broker.
func (m *mirror) newNATSOutput(cfg OutputConfig, line *outputLine) (output.Output, error) {
	known, err := cfg.NATS.load(cfg.Address, m.cfg.Insecure)
	if err != nil {
		return nil, fmt.Errorf("--output-nats %s: %w", redacted(cfg.Address), err)
	}
	out, err := output.NewNATS(output.NATSConfig{
		Broker: known,
		Stream: broker.StreamConfig{
			Shards: cfg.NATS.Shards, Replicas: cfg.NATS.Replicas, MaxBytes: cfg.NATS.MaxBytes, MaxAge: cfg.NATS.MaxAge,
		},
		Window:  m.unacknowledged(output.DefaultNATSWindow),
		Linger:  cfg.NATS.Linger,
		ID:      listenerID(),
		Answers: m.cfg.bringsAnswers() || m.cfg.hearsAnswers(),
		Staging: m.cfg.hearsAnswers(),
		Notify: func(err error) {
			if err != nil {
				m.log.Warn("cannot publish", "error", err)
				return
			}
			m.log.Info("publishing", "broker", known.Address.String())
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--output-nats %s: %w", redacted(cfg.Address), err)
	}
	line.published = out.Stats
	return out, nil
}

// hearsAnswers reports whether staging's answers come back into the pipeline.
func (c *Config) hearsAnswers() bool {
	return slices.ContainsFunc(c.Outputs, func(o OutputConfig) bool { return o.Kind == OutputHTTP && o.HTTP.TrackResponse })
}

// newNATSInput begins to take messages from a broker.
func (m *mirror) newNATSInput(cfg InputConfig) (input, error) {
	known, err := cfg.NATS.load(cfg.Address, m.cfg.Insecure)
	if err != nil {
		return nil, fmt.Errorf("--input-nats %s: %w", redacted(cfg.Address), err)
	}
	speed := cfg.NATS.Speed
	if cfg.NATS.Max {
		speed = 0
	}
	in, err := replay.NewNATS(replay.NATSConfig{
		Broker:      known,
		Group:       cfg.NATS.Group,
		Speed:       speed,
		DropInDoubt: !m.cfg.resends(InputNATS),
		Notify: func(err error) {
			if err != nil {
				m.log.Warn("cannot read from the broker", "error", err)
				return
			}
			m.log.Info("reading", "broker", known.Address.String())
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--input-nats %s: %w", redacted(cfg.Address), err)
	}
	m.log.Info("waiting", "broker", known.Address.String())
	m.subscribers = append(m.subscribers, subscriber{known.Address.String(), in.Stats})
	m.quiet = append(m.quiet, quietInput{in: in, why: func() string {
		switch s := in.Stats(); {
		case s.Shards == 0 && s.Replayers > 1:
			return fmt.Sprintf("the %d other replayers of this group have all shards: this one waits for one of them to end", s.Replayers-1)
		case s.Shards == 0:
			return "this replayer holds no shard yet; what is wrong with the broker was said above"
		}
		return fmt.Sprintf("nothing was published to %s: is a listener running with --output-nats and this address?", known.Address)
	}})
	return in, nil
}
