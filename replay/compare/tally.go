package compare

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
)

// The bounds of what is remembered, over all endpoints.
const (
	maxEndpoints  = 1000
	maxGroups     = 10_000
	maxNoise      = 20_000
	maxSignatures = 20_000
)

// A room is how many more there may be of something.
type room struct{ left atomic.Int64 }

func newRoom(n int64) *room {
	r := &room{}
	r.left.Store(n)
	return r
}

func (r *room) take() bool { return r.left.Add(-1) >= 0 }

// An endpoint is what is known of one, until the report. Its mutex is held while
// one of its exchanges is compared.
type endpoint struct {
	name  string
	mu    sync.Mutex
	noise noise

	groups     map[groupKey]int
	list       []*group
	signatures map[string]int64 // different exchanges by their groups
	ungrouped  int64            // different exchanges of which that is not known
	masked     int64            // the same but for noise

	compared, notCompared int64
	bytes                 [2]int64 // of the bodies as sent: production's, staging's
	latency               [2]time.Duration
	timed                 [2]int64 // how many latencies are known
}

type groupKey struct {
	kind Kind
	path string
}

// A group is the differences of one kind at one path.
type group struct {
	groupKey
	exchanges, count int64
	examples         []Example
}

// A tally is what all exchanges came to.
type tally struct {
	examples int
	groups   *room
	noises   *room
	sigs     *room

	mu        sync.Mutex
	endpoints map[string]*endpoint
	// The rest is of exchanges that are finished.
	exchanges   int64
	notCompared map[string]int64
	unbased     int64 // compared without the baseline's answer
	late        int64
	ungrouped   atomic.Int64 // differences in no group, for want of room
}

func newTally(examples int) *tally {
	return &tally{
		examples: max(examples, 0), groups: newRoom(maxGroups), noises: newRoom(maxNoise), sigs: newRoom(maxSignatures),
		endpoints: map[string]*endpoint{}, notCompared: map[string]int64{},
	}
}

// endpoint returns what is known of the endpoint with that name.
func (t *tally) endpoint(name string) *endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.endpoints[name]
	if e == nil && len(t.endpoints) >= maxEndpoints {
		name = otherEndpoint
		e = t.endpoints[name]
	}
	if e == nil {
		e = &endpoint{name: name, groups: map[groupKey]int{}, signatures: map[string]int64{}, noise: noise{room: t.noises}}
		t.endpoints[name] = e
	}
	return e
}

// finished counts an exchange. based says that the baseline's answer was used.
func (t *tally) finished(v *Verdict, based bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exchanges++
	if v.Outcome == NotCompared {
		t.notCompared[v.Reason]++
	} else if !based {
		t.unbased++
	}
}

// lateAnswer counts an answer to an exchange that was given up before.
func (t *tally) lateAnswer() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late++
}

// add counts a verdict of the endpoint, whose mutex is held.
func (e *endpoint) add(t *tally, v *Verdict) {
	if v.Outcome == NotCompared {
		e.notCompared++
		return
	}
	e.compared++
	for i, a := range []Answer{v.Production, v.Staging} {
		e.bytes[i] += int64(a.Body)
		if a.Latency > 0 {
			e.latency[i] += a.Latency
			e.timed[i]++
		}
	}
	if v.Outcome == Same {
		if v.Noise > 0 {
			e.masked++
		}
		return
	}
	e.group(t, v)
}

// group counts the differences of a verdict.
func (e *endpoint) group(t *tally, v *Verdict) {
	sig := make([]int, 0, len(v.Differences))
	for i := range v.Differences {
		d := &v.Differences[i]
		g, ok := e.find(t, groupKey{d.Kind, d.Path})
		if !ok {
			t.ungrouped.Add(1)
			continue
		}
		sig = append(sig, g)
		e.list[g].add(t, v.ID, d)
	}
	if len(sig) < len(v.Differences) || v.Cut {
		e.ungrouped++
		return
	}
	slices.Sort(sig)
	var key []byte
	for _, g := range sig {
		key = binary.AppendUvarint(key, uint64(g))
	}
	if _, ok := e.signatures[string(key)]; !ok && !t.sigs.take() {
		e.ungrouped++
		return
	}
	e.signatures[string(key)]++
}

// find returns the number of a group, a new one if there is room.
func (e *endpoint) find(t *tally, k groupKey) (int, bool) {
	if g, ok := e.groups[k]; ok {
		return g, true
	}
	if !t.groups.take() {
		return 0, false
	}
	g := len(e.list)
	e.list = append(e.list, &group{groupKey: k})
	e.groups[k] = g
	return g, true
}

func (g *group) add(t *tally, id kagami.ID, d *Difference) {
	g.exchanges++
	g.count += int64(d.Count)
	if len(g.examples) < t.examples {
		g.examples = append(g.examples, Example{ID: id, At: d.At, Offset: d.Offset, Production: d.Production, Staging: d.Staging})
	}
}

// different is how many exchanges differ but for what is noise by now, and how
// many only in that: noise that was seen before the baseline had shown it.
func (e *endpoint) different() (different, noise int64) {
	different, noise = e.ungrouped, e.masked
	for sig, n := range e.signatures {
		real := false
		for key := []byte(sig); len(key) > 0 && !real; {
			g, size := binary.Uvarint(key)
			key = key[size:]
			real = !e.isNoise(e.list[g])
		}
		if real {
			different += n
		} else {
			noise += n
		}
	}
	return different, noise
}

func (e *endpoint) isNoise(g *group) bool {
	return e.noise.has(appendNoiseKey(nil, g.kind, []byte(g.path)))
}
