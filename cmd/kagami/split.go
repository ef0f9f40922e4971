package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"kagami"
	"kagami/internal/http1"
)

// splitTurns is the word for --split-output by turns.
const splitTurns = "round-robin"

// splitValue is whether exchanges are split, and how: true and false are
// GoReplay's.
type splitValue struct{ c *Config }

func (v splitValue) Set(s string) error {
	if s == splitTurns {
		v.c.SplitOutput, v.c.SplitTurns = true, true
		return nil
	}
	on := false
	if (boolValue{&on}).Set(s) != nil {
		return errors.New("want true, false or " + splitTurns)
	}
	v.c.SplitOutput, v.c.SplitTurns = on, false
	return nil
}

func (v splitValue) String() string {
	if v.c.SplitTurns {
		return splitTurns
	}
	return boolValue{&v.c.SplitOutput}.String()
}

// A splitter says to which one of the outputs an exchange goes.
type splitter struct {
	turns bool // by turns, else by a hash of the id, or with
	// byConnection of the client's end of the connection
	byConnection bool
	next         atomic.Uint64
	up           map[int]func() bool // by output: whether its target can be reached; none is always up
}

// place returns the number of m's output, 0 to n-1. given is where the requests of
// this batch go that were placed already.
func (s *splitter) place(m *kagami.Message, n int, given map[*kagami.Exchange]int) int {
	h := kagami.Salt(0).ID(m.Exchange.ID)
	if s.byConnection && m.Kind != kagami.Replayed && m.Client.IsValid() { // the ends of a Replayed message are others
		h = kagami.Salt(0).Connection(m.Client)
	}
	hashed := int(h) % n
	switch {
	case !s.turns, m.Proto == kagami.WebSocket, wantsWebSocket(m):
		return hashed // frames have the id of the request that asked for the WebSocket, and go where it went
	case m.Kind == kagami.Request:
		k := s.turn(n)
		given[m.Exchange] = k
		return k
	}
	if k, ok := given[m.Exchange]; ok {
		return k
	}
	for k := range n {
		if m.Exchange.Fate(k) != kagami.Undecided {
			return k
		}
	}
	return hashed
}

// turn is the next output whose target can be reached, or if there is none, the next.
func (s *splitter) turn(n int) int {
	first := int((s.next.Add(1) - 1) % uint64(n))
	for i := range n {
		k := (first + i) % n
		if up := s.up[k]; up == nil || up() {
			return k
		}
	}
	return first
}

// wantsWebSocket reports whether m asks for a WebSocket, or is the answer to
// one that does.
func wantsWebSocket(m *kagami.Message) bool {
	value, ok := http1.Header(m.Raw, "Upgrade")
	return ok && strings.EqualFold(string(value), "websocket")
}

// fanOutSplit gives each exchange to one output, so that an answer goes where
// its request went.
func (p *pipeline) fanOutSplit(ctx context.Context, b kagami.Batch, outputs []outlet) error {
	parts := make([]kagami.Batch, len(outputs))
	index := make([][]int, len(outputs))
	given := map[*kagami.Exchange]int{}
	for i, m := range b.Messages {
		k := p.splitter.place(m, len(outputs), given)
		if p.state != nil {
			if was, known := p.state.RecallAny(m); known {
				k = was // by turns it may be another's
			}
		}
		parts[k].Messages = append(parts[k].Messages, m)
		index[k] = append(index[k], i)
	}
	var errs []error
	for k, out := range outputs {
		if len(index[k]) == 0 {
			continue
		}
		if settle := b.Settle; settle != nil {
			parts[k].Settle = func(i int, r kagami.Reason) { settle(index[k][i], r) }
		}
		errs = append(errs, out.write(ctx, parts[k], out.filter))
	}
	return errors.Join(errs...)
}
