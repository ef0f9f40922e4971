package replay

import (
	"fmt"
	"testing"
	"time"

	"kagami/internal/broker"
)

// A bucket is the key-value bucket of some rosters: what one writes, all see.
type bucket struct {
	rosters  []*roster
	revision uint64
}

func (b *bucket) put(key, value string, now time.Time) uint64 {
	b.revision++
	for _, r := range b.rosters {
		r.see("s", key, []byte(value), b.revision, now)
	}
	return b.revision
}

func newBucket(replayers, shards int) *bucket {
	b := &bucket{}
	for i := range replayers {
		r := newRoster(fmt.Sprint("r", i))
		for j := range shards {
			r.keys = append(r.keys, natsKey{broker.Shards{Stream: "s", N: shards}, j})
		}
		b.rosters = append(b.rosters, r)
	}
	return b
}

// settle lets the first n rosters beat, take and give until nobody does, and returns what each holds.
func (b *bucket) settle(t *testing.T, n int, held map[string][]natsKey, now time.Time) {
	t.Helper()
	for range 50 {
		for _, r := range b.rosters[:n] {
			b.put(natsMemberKey+r.me, "x", now)
		}
		moved := false
		for _, r := range b.rosters[:n] {
			take, give := r.plan(held[r.me], now, time.Minute)
			for _, k := range give {
				moved = true
				b.put(natsLeaseKey+k.String(), `{"holder":""}`, now)
				kept := held[r.me][:0:0]
				for _, h := range held[r.me] {
					if h != k {
						kept = append(kept, h)
					}
				}
				held[r.me] = kept
			}
			for _, k := range take {
				moved = true
				b.put(natsLeaseKey+k.String(), fmt.Sprintf(`{"holder":%q}`, r.me), now)
				held[r.me] = append(held[r.me], k)
			}
		}
		if !moved {
			return
		}
	}
	t.Fatal("they do not come to rest")
}

// However many replayers come and go, all shards are held, each by one, and
// nobody has more than a fair part.
func TestRosterSharesEvenly(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, shards := range []int{1, 5, 16, 64} {
		b := newBucket(20, shards)
		held := map[string][]natsKey{}
		for _, n := range []int{1, 2, 3, 7, 20} {
			b.settle(t, n, held, now)
			seen := map[natsKey]string{}
			for me, keys := range held {
				if most := (shards + n - 1) / n; len(keys) > most {
					t.Errorf("%d shards, %d replayers: %s holds %d, want at most %d", shards, n, me, len(keys), most)
				}
				for _, k := range keys {
					if other, twice := seen[k]; twice {
						t.Errorf("%s is held by %s and %s", k, me, other)
					}
					seen[k] = me
				}
			}
			if len(seen) != shards {
				t.Errorf("%d shards, %d replayers: %d are held", shards, n, len(seen))
			}
		}
	}
}

// A replayer is dead when nothing comes of it for the length of a lease while
// others write; a bucket that nobody can write to for an hour kills nobody.
func TestRosterDead(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := newBucket(2, 4)
	a, z := b.rosters[0], b.rosters[1]
	beat := func(r *roster) { b.put(natsMemberKey+r.me, "x", now) }
	k := a.keys[0]
	beat(a)
	beat(z)
	b.put(natsLeaseKey+k.String(), `{"holder":"r1"}`, now)
	free := func() bool { return a.free(k, now, time.Minute) }
	if free() {
		t.Fatal("free at once")
	}
	now = now.Add(time.Hour) // nobody could write
	if free() {
		t.Error("free though nobody could say that he lives")
	}
	for range deadBeats - 1 {
		beat(a)
	}
	if free() {
		t.Error("free a beat too early")
	}
	beat(a)
	if !free() {
		t.Error("not free after the lease")
	}
	beat(z)
	if free() {
		t.Error("free though its holder is back")
	}
	b.rosters[0].see("s", natsMemberKey+z.me, nil, 99, now)
	b.put(natsLeaseKey+a.keys[1].String(), `{"holder":"stranger"}`, now)
	if a.free(a.keys[1], now, time.Minute) {
		t.Error("free though its holder has had no time to say that he lives")
	}
}

// Who died between taking a lease and giving it back finds it again.
func TestRosterOwnLeaseIsTakenAgain(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := newBucket(2, 4)
	a := b.rosters[0]
	for _, k := range a.keys {
		b.put(natsLeaseKey+k.String(), `{"holder":"r0"}`, now)
	}
	if take, _ := a.plan(nil, now, time.Minute); len(take) != 4 {
		t.Errorf("took %v", take)
	}
}

func FuzzRosterSee(f *testing.F) {
	f.Add("shard.4-1", []byte(`{"holder":"a","rest":{"7":[1,2]},"done":[3]}`), uint64(1))
	f.Add("replayer.a", []byte(nil), uint64(2))
	f.Fuzz(func(t *testing.T, key string, value []byte, revision uint64) {
		b := newBucket(1, 4)
		r := b.rosters[0]
		now := time.Unix(1_800_000_000, 0)
		r.see("s", key, value, revision, now)
		take, give := r.plan(nil, now, time.Minute)
		if len(take) > 4 || len(give) > 0 {
			t.Errorf("take %v, give %v", take, give)
		}
	})
}

func TestSessions(t *testing.T) {
	var s natsSessions
	id := broker.ID{Listener: "a", Epoch: 1}
	for _, c := range []struct {
		first, last      uint64
		duplicate, fresh bool
		missing          int
	}{
		{5, 9, false, true, 0}, {10, 12, false, false, 0}, {10, 12, true, false, 0}, {5, 9, true, false, 0}, {20, 20, false, false, 7},
	} {
		if d, f, m := s.note(id, c.first, c.last); d != c.duplicate || f != c.fresh || m != c.missing {
			t.Errorf("%d to %d: duplicate %v, fresh %v, %d missing", c.first, c.last, d, f, m)
		}
	}
	for i := range uint64(3 * maxNATSSessions) {
		s.note(broker.ID{Listener: "b", Epoch: i}, 1, 1)
	}
	if len(s.last) > maxNATSSessions {
		t.Errorf("%d are remembered", len(s.last))
	}
}
