package replay

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"kagami"
)

// A Summary is what a replay would do.
type Summary struct {
	Files int
	// Bytes is the size of the files, Payload that of the messages in them.
	Bytes, Payload int64
	// Requests, Responses and Replayed are the messages that would be sent.
	Requests, Responses, Replayed int
	// Frames are those of WebSockets, of clients and of servers.
	Frames int
	// Orphans are answers whose request is not in the files, Unknown records of
	// a kind this version does not know: they would not be sent.
	Orphans, Unknown int
	// Outside are requests that are not in the part that is replayed, and the
	// answers to them: they would not be sent either. It is not counted to the
	// files' end; see Files.Stages.
	Outside int
	// Late is how many messages lie, in time, before one that was read more than
	// the read depth earlier. They would be sent at once.
	Late int
	// First and Last are when the first and the last message were recorded.
	First, Last time.Time
	// AtOnce says that it would be sent as fast as it goes: then there are no
	// Duration and no gaps.
	AtOnce bool
	// Duration is how long the replay would take from the first message to the
	// last, at the speed asked for.
	Duration time.Duration
	// MinGap, MeanGap and MaxGap are between messages in the order they would be
	// sent, at the speed asked for.
	MinGap, MeanGap, MaxGap time.Duration
	// Damaged are the files that cannot be read to their end, and where.
	Damaged []error
}

// Summary reads all files once and says what Run would do. It is for a Files
// that is not run, and not for pipes, which can be read once only. The error
// says that ctx ended or that a file is a pipe.
func (f *Files) Summary(ctx context.Context) (Summary, error) {
	s := Summary{Files: len(f.paths)}
	for _, p := range f.paths {
		if !p.regular {
			return s, fmt.Errorf("%s: not a file, reading it would leave nothing to replay", p.path)
		}
		s.Bytes += p.size
	}
	var (
		stage     kagami.Stage
		exchanges Exchanges
		selected  = selection{cfg: &f.cfg}
		c         clock
		last      time.Duration
	)
	merged := newMerge(f.paths, f.cfg.ReadDepth, &stage)
	defer merged.close()
	for m := merged.next(); m != nil; m = merged.next() {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if selected.see(m) {
			break
		}
		if !exchanges.Join(m) {
			s.Orphans++
			continue
		}
		if selected.admit(m) != kagami.Delivered {
			s.Outside++
			continue
		}
		at, r := selected.place(m, &c)
		if r != kagami.Delivered {
			s.Outside++
			continue
		}
		s.count(m, at-last, c.count == 1)
		last = at
	}
	s.Late, s.Damaged = c.late, merged.damaged
	s.Unknown = int(stage.Dropped(kagami.UnknownKind))
	if s.AtOnce = f.cfg.Max; s.AtOnce {
		s.MinGap, s.MaxGap = 0, 0
		return s, nil
	}
	s.Duration = last
	if c.count > 1 {
		s.MeanGap = last / time.Duration(c.count-1)
	}
	return s, nil
}

// count adds a message, gap after the one before.
func (s *Summary) count(m *kagami.Message, gap time.Duration, first bool) {
	switch {
	case m.Proto == kagami.WebSocket:
		s.Frames++
	case m.Kind == kagami.Request:
		s.Requests++
	case m.Kind == kagami.Response:
		s.Responses++
	default:
		s.Replayed++
	}
	s.Payload += int64(len(m.Raw))
	if s.First.IsZero() || m.Start.Before(s.First) {
		s.First = m.Start
	}
	if m.Start.After(s.Last) {
		s.Last = m.Start
	}
	if first {
		return
	}
	if s.MaxGap = max(s.MaxGap, gap); s.MinGap > gap || s.Messages() == 2 {
		s.MinGap = gap
	}
}

// Messages is how many messages would be sent.
func (s Summary) Messages() int { return s.Requests + s.Responses + s.Replayed + s.Frames }

// WriteText writes the summary for people.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "files      %d, %d bytes\n", s.Files, s.Bytes)
	fmt.Fprintf(&b, "messages   %d requests, %d responses, %d replayed responses, ", s.Requests, s.Responses, s.Replayed)
	if s.Frames > 0 {
		fmt.Fprintf(&b, "%d frames of WebSockets, ", s.Frames)
	}
	fmt.Fprintf(&b, "%d bytes\n", s.Payload)
	if s.Messages() > 0 {
		fmt.Fprintf(&b, "recorded   %s to %s, %v\n",
			s.First.Format(time.RFC3339Nano), s.Last.Format(time.RFC3339Nano), s.Last.Sub(s.First))
	}
	if !s.AtOnce {
		fmt.Fprintf(&b, "replay     %v, gaps of %v to %v, %v in the mean\n", s.Duration, s.MinGap, s.MaxGap, s.MeanGap)
	} else {
		fmt.Fprintf(&b, "replay     as fast as it goes\n")
	}
	for _, left := range []struct {
		n    int
		what string
	}{
		{s.Late, "out of order, and sent at once"},
		{s.Outside, "outside of what is replayed, not sent"},
		{s.Orphans, "answers without a request, not sent"},
		{s.Unknown, "records of an unknown kind, not sent"},
	} {
		if left.n > 0 {
			fmt.Fprintf(&b, "           %d %s\n", left.n, left.what)
		}
	}
	for _, err := range s.Damaged {
		fmt.Fprintf(&b, "damaged    %v\n", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
