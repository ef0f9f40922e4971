package output

import (
	"kagami"
	"kagami/internal/broker"
)

// natsFollowed is how many requests a natsFollow remembers.
const natsFollowed = 65536

// A natsFollow says which shard a message goes to. Production's answers have
// the connection of their request, and so its shard. Staging's answers were
// seen on another connection: where they come it remembers where the latest
// requests went. It is not for several goroutines.
type natsFollow struct {
	remembers bool
	shards    map[*kagami.Exchange]int
	order     []*kagami.Exchange // a ring of what is in shards
	next      int
}

func (f *natsFollow) shard(s broker.Shards, m *kagami.Message) int {
	if f.remembers && m.Kind == kagami.Replayed {
		if i, ok := f.shards[m.Exchange]; ok {
			return i
		}
	}
	i := s.Of(m)
	if f.remembers && m.Kind == kagami.Request {
		f.remember(m.Exchange, i)
	}
	return i
}

func (f *natsFollow) remember(e *kagami.Exchange, i int) {
	if f.shards == nil {
		f.shards = make(map[*kagami.Exchange]int)
	}
	if len(f.order) < natsFollowed {
		f.order = append(f.order, e)
	} else {
		delete(f.shards, f.order[f.next])
		f.order[f.next] = e
		f.next = (f.next + 1) % natsFollowed
	}
	f.shards[e] = i
}
