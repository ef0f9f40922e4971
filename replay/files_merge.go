package replay

import (
	"container/heap"
	"fmt"
	"io"
	"slices"
	"sort"
	"time"

	"kagami"
)

// maxWindowBytes bounds the reorder window of one file.
const maxWindowBytes = 16 << 20

// A merge reads several files as one, by the time of their messages.
type merge struct {
	stage   *kagami.Stage
	depth   int
	tracks  tracks
	read    int64 // bytes of the files that are closed
	damaged []error
}

func newMerge(files []plan, depth int, stage *kagami.Stage) *merge {
	m := &merge{stage: stage, depth: depth}
	for i, p := range files {
		m.tracks = append(m.tracks, &track{plan: p, index: i, top: place{start: p.first}})
	}
	heap.Init(&m.tracks)
	return m
}

// next returns the next message, or nil when all files are read. Files that
// can't be read to their end are noted in damaged.
func (m *merge) next() *kagami.Message {
	for len(m.tracks) > 0 {
		t := m.tracks[0]
		var msg *kagami.Message
		if t.opened {
			msg = t.pop()
		}
		m.fill(t)
		if t.held() == 0 {
			m.finish(t)
			heap.Pop(&m.tracks)
		} else {
			t.top = t.window[t.head].place
			heap.Fix(&m.tracks, 0)
		}
		if msg != nil {
			return msg
		}
	}
	return nil
}

// fill opens the file if need be, and fills the window.
func (m *merge) fill(t *track) {
	if !t.opened {
		t.opened = true
		var err error
		if t.rec, err = OpenFile(t.path); err != nil {
			m.broken(t, err)
		}
	}
	for !t.ended && (t.held() == 0 || t.held() < m.depth && t.bytes < maxWindowBytes) {
		msg, err := t.rec.Next()
		if n := t.rec.Unknown() - t.unknown; n > 0 {
			t.unknown += n
			m.stage.In(int(n))
			m.stage.Drop(kagami.UnknownKind, int(n))
		}
		if err == io.EOF {
			t.ended = true
		} else if err != nil {
			m.broken(t, err)
		} else {
			m.stage.In(1)
			t.push(msg)
		}
	}
}

// broken notes that t can't be read any further.
func (m *merge) broken(t *track, err error) {
	t.ended = true
	n := Damages(err)
	m.stage.In(n)
	m.stage.Drop(kagami.Damaged, n)
	m.damaged = append(m.damaged, err)
}

// finish closes the file of t.
func (m *merge) finish(t *track) {
	if t.rec == nil {
		return
	}
	done, _ := t.rec.Progress()
	m.read += done
	if err := t.rec.Close(); err != nil {
		m.damaged = append(m.damaged, fmt.Errorf("close %s: %w", t.path, err))
	}
	t.rec = nil
}

// close closes all files and forgets what is held.
func (m *merge) close() {
	for _, t := range m.tracks {
		m.finish(t)
	}
	m.tracks = nil
}

// held is how many messages are in the windows.
func (m *merge) held() int {
	n := 0
	for _, t := range m.tracks {
		n += t.held()
	}
	return n
}

// done is how many bytes of all files have been read.
func (m *merge) done() int64 {
	n := m.read
	for _, t := range m.tracks {
		if t.rec != nil {
			done, _ := t.rec.Progress()
			n += done
		}
	}
	return n
}

// A track is one file of a merge, with its reorder window.
type track struct {
	plan
	index   int
	opened  bool
	ended   bool
	rec     *Recording
	unknown int64
	latest  time.Time // of what was read, staging's answers aside
	window  []placed  // in order, from head on
	head    int
	bytes   int64 // in the window
	serial  int
	top     place // of the first in the window; of a file not yet opened, where it begins
}

// push puts m in its place: mostly the last. That of one of staging's answers, which bears the time of a
// replay, is behind what was recorded before it.
func (t *track) push(m *kagami.Message) {
	start := m.Start
	switch {
	case m.Kind != kagami.Replayed:
		if start.After(t.latest) {
			t.latest = start
		}
	case !t.latest.IsZero():
		start = t.latest
	}
	p := placed{m, place{start, m.Kind, t.serial}}
	t.serial++
	t.bytes += m.Size()
	if t.head > 0 && len(t.window) == cap(t.window) {
		n := copy(t.window, t.window[t.head:])
		clear(t.window[n:])
		t.window, t.head = t.window[:n], 0
	}
	i := len(t.window)
	if i > t.head && p.less(t.window[i-1].place) {
		held := t.window[t.head:]
		i = t.head + sort.Search(len(held), func(i int) bool { return p.less(held[i].place) })
	}
	t.window = slices.Insert(t.window, i, p)
}

func (t *track) pop() *kagami.Message {
	m := t.window[t.head].m
	t.window[t.head] = placed{}
	t.head++
	t.bytes -= m.Size()
	return m
}

func (t *track) held() int { return len(t.window) - t.head }

// A place is where a message belongs among others. Of what was recorded at the
// same instant requests come first, so that their answers know them; else the
// order of the file stays.
type place struct {
	start  time.Time
	kind   kagami.Kind
	serial int
}

func (a place) less(b place) bool {
	if d := a.start.Compare(b.start); d != 0 {
		return d < 0
	}
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	return a.serial < b.serial
}

type placed struct {
	m *kagami.Message
	place
}

// tracks is a heap of files, the one with the earliest message first.
type tracks []*track

func (t tracks) Len() int { return len(t) }
func (t tracks) Less(i, j int) bool {
	a, b := t[i], t[j]
	if d := a.top.start.Compare(b.top.start); d != 0 {
		return d < 0
	}
	if a.top.kind != b.top.kind {
		return a.top.kind < b.top.kind
	}
	return a.index < b.index
}
func (t tracks) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *tracks) Push(x any)   { *t = append(*t, x.(*track)) }
func (t *tracks) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return x
}
