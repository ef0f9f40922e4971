package main

import (
	"container/list"
	"strings"
	"sync"

	"kagami"
	"kagami/replay/compare"
	"kagami/replay/results"
)

// endpointOf is the template of a path, as comparing has it.
func endpointOf(path string) string {
	if path == "" {
		return ""
	}
	return strings.TrimPrefix(compare.Endpoint("", path), "? ")
}

// How many of each wait for the other at most.
const (
	maxResultsWait  = 20_000
	maxVerdictsWait = 4_096
)

// comparedRows joins results with what comparing the same exchange came to: a result
// with both answers waits for its verdict. There is one row for each result. A nil one
// takes no verdicts.
type comparedRows struct {
	add func(results.Result)

	mu       sync.Mutex
	results  waiting[results.Result]
	verdicts waiting[results.Result] // of which only what comparing fills in is set
}

func newComparedRows(add func(results.Result)) *comparedRows {
	return &comparedRows{add: add}
}

// result takes a result.
func (c *comparedRows) result(r results.Result) {
	c.mu.Lock()
	v, ok := c.verdicts.take(r.ID)
	out := []results.Result{r}
	switch {
	case ok:
		out[0] = withVerdict(r, v)
	case r.Outcome == kagami.Delivered && r.StagingStatus != 0 && r.ProductionStatus != 0:
		c.results.put(r.ID, r)
		out = c.results.over(maxResultsWait)
	}
	c.mu.Unlock()
	c.addAll(out)
}

// verdict takes a verdict.
func (c *comparedRows) verdict(v compare.Verdict) {
	if c == nil {
		return
	}
	filled := verdictOf(&v)
	c.mu.Lock()
	r, ok := c.results.take(v.ID)
	if !ok {
		c.verdicts.put(v.ID, filled)
		c.verdicts.over(maxVerdictsWait)
	}
	c.mu.Unlock()
	if ok {
		c.add(withVerdict(r, filled))
	}
}

// flush adds the results that no verdict comes for any more.
func (c *comparedRows) flush() {
	if c == nil {
		return
	}
	c.mu.Lock()
	out := c.results.over(0)
	c.mu.Unlock()
	c.addAll(out)
}

// addAll adds results, without the lock: it may wait.
func (c *comparedRows) addAll(rs []results.Result) {
	for _, r := range rs {
		c.add(r)
	}
}

func withVerdict(r, v results.Result) results.Result {
	r.Compared, r.Different, r.Differences, r.DifferenceCount = v.Compared, v.Different, v.Differences, v.DifferenceCount
	return r
}

// maxRowDifferences is how many differences a row shows.
const maxRowDifferences = 20

// verdictOf is what a verdict fills in of a result.
func verdictOf(v *compare.Verdict) results.Result {
	r := results.Result{Compared: v.Outcome != compare.NotCompared, Different: v.Outcome == compare.Different}
	for i := range v.Differences {
		d := &v.Differences[i]
		r.DifferenceCount += d.Count
		if i >= maxRowDifferences {
			continue
		}
		out := results.Difference{Part: "body", Kind: string(d.Kind), Path: d.Path, Production: d.Production, Staging: d.Staging}
		switch d.Kind {
		case compare.Status:
			out.Part, out.Path = "status", ""
		case compare.Header, compare.HeaderMissing, compare.HeaderAdded:
			out.Part = "header"
		}
		r.Differences = append(r.Differences, out)
	}
	return r
}

// waiting is what waits, by the exchange's id, oldest first. The zero value is empty. A
// recording played in a loop has each id many times.
type waiting[T any] struct {
	byID  map[kagami.ID][]*list.Element
	order list.List // of waitingItem[T]
}

type waitingItem[T any] struct {
	id kagami.ID
	v  T
}

func (w *waiting[T]) put(id kagami.ID, v T) {
	if w.byID == nil {
		w.byID = map[kagami.ID][]*list.Element{}
	}
	w.byID[id] = append(w.byID[id], w.order.PushBack(waitingItem[T]{id, v}))
}

// take takes out the oldest with that id.
func (w *waiting[T]) take(id kagami.ID) (v T, ok bool) {
	all := w.byID[id]
	if len(all) == 0 {
		return v, false
	}
	if len(all) == 1 {
		delete(w.byID, id)
	} else {
		w.byID[id] = all[1:]
	}
	return w.order.Remove(all[0]).(waitingItem[T]).v, true
}

// over takes out the oldest until there are n.
func (w *waiting[T]) over(n int) (out []T) {
	for w.order.Len() > n {
		v, _ := w.take(w.order.Front().Value.(waitingItem[T]).id)
		out = append(out, v)
	}
	return out
}
