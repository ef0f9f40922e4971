package replay

import (
	"errors"
	"fmt"
	"time"

	"kagami"
	"kagami/internal/duration"
)

// A Moment is a moment of a recording: Time, or, if that is zero, Offset after
// its first message.
type Moment struct {
	Time   time.Time
	Offset time.Duration
}

// on returns the moment in a recording that begins at begin.
func (m Moment) on(begin time.Time) time.Time {
	if m.Time.IsZero() {
		return begin.Add(m.Offset)
	}
	return m.Time
}

// String is the time as RFC 3339 has it, or the offset.
func (m Moment) String() string {
	if m.Time.IsZero() {
		return duration.Text(m.Offset)
	}
	return m.Time.Format(time.RFC3339Nano)
}

// checkSelection checks what is said about the part that is replayed.
func (cfg *FilesConfig) checkSelection() error {
	from, to := cfg.From, cfg.To
	sameKind := from.Time.IsZero() == to.Time.IsZero()
	switch {
	case from.Offset < 0 || to.Offset < 0:
		return fmt.Errorf("from %v to %v: want offsets of 0 or more", from, to)
	case to != Moment{} && sameKind && !from.on(time.Time{}).Before(to.on(time.Time{})):
		return fmt.Errorf("from %v to %v: want an end that is later than the beginning", from, to)
	case cfg.Requests < 0:
		return fmt.Errorf("%d requests: want 0 (all) or more", cfg.Requests)
	case cfg.Duration < 0:
		return fmt.Errorf("duration of %v: want 0 (no end) or more", cfg.Duration)
	case cfg.Duration > 0 && cfg.Max:
		return errors.New("both as fast as it goes and a duration: want one of them, for nothing has a time then")
	}
	return nil
}

// A selection is the part of the recordings that is replayed: requests within a
// window of the recording's time, up to a number and a duration of the replay,
// and their answers, wherever they are.
type selection struct {
	cfg   *FilesConfig
	begin time.Time // of this round
	from  time.Time
	to    time.Time // zero: no end
	last  time.Time
	ended bool      // no request is taken any more
	late  time.Time // behind this, nor are answers
}

// round begins with the recordings anew.
func (s *selection) round() {
	s.begin, s.late, s.last = time.Time{}, time.Time{}, time.Time{}
}

// see looks at each message that is read, in order. over says that neither it
// nor what comes behind it can be in the selection.
func (s *selection) see(m *kagami.Message) (over bool) {
	if m.Kind == kagami.Replayed {
		return false // its time is not that of the recording
	}
	if s.begin.IsZero() {
		s.begin = m.Start
		s.from = s.cfg.From.on(m.Start)
		if s.cfg.To != (Moment{}) {
			s.to = s.cfg.To.on(m.Start)
			s.late = s.to.Add(DefaultExchangeAge)
		}
	}
	if m.Start.After(s.last) {
		s.last = m.Start
	}
	return !s.late.IsZero() && m.Start.After(s.late)
}

// admit says whether a message is in the window. The fate of a request is that
// of its answers, and of the frames of its WebSocket, as far as they are in the window too.
func (s *selection) admit(m *kagami.Message) kagami.Reason {
	if m.Follows() {
		switch {
		case m.Exchange.Fate(kagami.Shared) == kagami.Dropped:
			return kagami.RequestDropped
		case m.Kind == kagami.Request && (m.Start.Before(s.from) || s.past(m)):
			return refuseRequest(m)
		}
		return kagami.Delivered
	}
	if s.ended || m.Start.Before(s.from) || s.past(m) {
		return refuseRequest(m)
	}
	return kagami.Delivered
}

// past reports whether m lies behind the window.
func (s *selection) past(m *kagami.Message) bool { return !s.to.IsZero() && !m.Start.Before(s.to) }

// place says when an admitted message is due, by the clock, which it moves on.
// Once a request comes too late or is one too many, no request is taken any
// more; an answer that comes too late is due at the end.
func (s *selection) place(m *kagami.Message, c *clock) (at time.Duration, r kagami.Reason) {
	limit := never
	if s.cfg.Duration > 0 {
		limit = s.cfg.Duration
	}
	before := *c
	at = c.at(m, s.cfg)
	request := !m.Follows()
	if at < limit && !(request && s.cfg.Requests > 0 && c.sent > s.cfg.Requests) {
		return at, kagami.Delivered
	}
	*c = before
	if request {
		s.end(m.Start)
	}
	if m.Kind == kagami.Request {
		return 0, refuseRequest(m)
	}
	c.count++
	return max(limit-1, before.prev-before.cut), kagami.Delivered
}

// end says that requests from start on are not in the selection.
func (s *selection) end(start time.Time) {
	s.ended = true
	if late := start.Add(DefaultExchangeAge); s.late.IsZero() || late.Before(s.late) {
		s.late = late
	}
}

func refuseRequest(m *kagami.Message) kagami.Reason {
	m.Exchange.Decide(kagami.Shared, kagami.Dropped)
	return kagami.OutsideWindow
}

// empty is the error for a window without any request.
func (s *selection) empty() error {
	if s.begin.IsZero() || s.cfg.From == (Moment{}) && s.cfg.To == (Moment{}) {
		return nil
	}
	to := "its end"
	if !s.to.IsZero() {
		to = s.to.Format(time.RFC3339Nano)
	}
	return fmt.Errorf("nothing to replay: there is no request from %s to %s, what was read goes from %s to %s",
		s.from.Format(time.RFC3339Nano), to, s.begin.Format(time.RFC3339Nano), s.last.Format(time.RFC3339Nano))
}
