package results

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// alarms tell an Alert of thresholds that are crossed, and when that is over. There
// is at most one message under way for each threshold: what changes meanwhile is told
// after it, unless it has changed back.
type alarms struct {
	alert  *Alert
	now    func() time.Time
	failed func(error)
	each   []alarm
	lost   atomic.Int64 // messages that were given up

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
}

// An alarm is one threshold's.
type alarm struct {
	crossed bool   // what holds
	text    string // of the message that says so
	told    bool   // what was said last
	posting bool
	pause   time.Time // no message before
}

func newAlarms(a *Alert, n int, now func() time.Time, failed func(error)) *alarms {
	s := &alarms{alert: a, now: now, failed: failed, each: make([]alarm, n)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// is reports whether the i-th threshold is known to be crossed.
func (s *alarms) is(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.each[i].crossed
}

// set says whether the i-th threshold is crossed, and the message that tells so.
// It never waits.
func (s *alarms) set(i int, crossed bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.each[i]
	if a.crossed != crossed || !a.posting {
		a.crossed, a.text = crossed, text
	}
	s.begin(a)
}

// again posts again what the webhook did not take of the i-th.
func (s *alarms) again(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(&s.each[i])
}

// begin begins to post what is to be told, if there is something and none is
// under way. s.mu is held.
func (s *alarms) begin(a *alarm) {
	if a.crossed == a.told || a.posting || s.ctx.Err() != nil || s.now().Before(a.pause) {
		return
	}
	a.posting = true
	s.wg.Add(1)
	go s.post(a, a.crossed, a.text)
}

// post is the goroutine of one message.
func (s *alarms) post(a *alarm, crossed bool, text string) {
	defer s.wg.Done()
	err := s.alert.Post(s.ctx, text)
	s.mu.Lock()
	a.posting = false
	if err == nil {
		a.told = crossed
	} else {
		a.pause = s.now().Add(s.alert.cfg.Pause)
	}
	s.begin(a)
	s.mu.Unlock()
	if err != nil {
		s.lost.Add(1)
		if s.failed != nil {
			s.failed(fmt.Errorf("an alert was not posted: %w", err))
		}
	}
}

// close waits for the messages under way, until ctx ends.
func (s *alarms) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	s.wg.Wait()
	s.cancel()
}
