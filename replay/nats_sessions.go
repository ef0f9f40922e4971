package replay

import (
	"sync"
	"time"

	"kagami"
	"kagami/internal/broker"
)

// natsSessions is what has come of each run of each listener in a shard. It is
// bounded: who was silent for longest is forgotten.
type natsSessions struct {
	last  map[sessionKey]*natsSession
	clock uint64
}

type natsSession struct {
	last uint64 // number of the last record
	used uint64
}

// maxNATSSessions is how many runs of listeners are remembered for a shard.
const maxNATSSessions = 4096

// note takes in that the records first to last came of a listener. It reports
// whether they came before, whether it is the first of this listener, and how
// many records are missing before it.
func (s *natsSessions) note(id broker.ID, first, last uint64) (duplicate, fresh bool, missing int) {
	if s.last == nil {
		s.last = make(map[sessionKey]*natsSession)
	}
	s.clock++
	key := sessionKey{id.Listener, id.Epoch}
	x := s.last[key]
	if x == nil {
		if len(s.last) >= maxNATSSessions {
			s.forget()
		}
		s.last[key] = &natsSession{last, s.clock}
		return false, true, 0
	}
	x.used = s.clock
	if last <= x.last {
		return true, false, 0
	}
	if first > x.last+1 {
		missing = int(min(first-x.last-1, 1<<31))
	}
	x.last = last
	return false, false, missing
}

func (s *natsSessions) forget() {
	var oldest sessionKey
	used := s.clock
	for k, x := range s.last {
		if x.used <= used {
			oldest, used = k, x.used
		}
	}
	delete(s.last, oldest)
}

// A natsPace says when messages are due that are played back as they were
// recorded. It adds nothing up, and is the same for all shards of a replayer.
type natsPace struct {
	speed float64
	now   func() time.Time

	mu          sync.Mutex
	base, first time.Time // of the first message: when it came, and when it was recorded
}

func (p *natsPace) due(messages []*kagami.Message) {
	if p.speed <= 0 {
		return
	}
	p.mu.Lock()
	if p.base.IsZero() {
		p.base, p.first = p.now(), messages[0].Start
	}
	base, first := p.base, p.first
	p.mu.Unlock()
	for _, m := range messages {
		m.Due = base.Add(Speed(p.speed).At(m.Start.Sub(first), 0))
	}
}
