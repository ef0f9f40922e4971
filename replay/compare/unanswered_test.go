package compare_test

import (
	"testing"

	"kagami"
	"kagami/replay/compare"
)

// A message without bytes says that there is no answer.
func TestThatThereIsNoAnswerIsToldAtOnce(t *testing.T) {
	none := func(ex *kagami.Exchange) *kagami.Message { return message(kagami.Replayed, ex, "") }
	t.Run("without production's", func(t *testing.T) {
		b := newBench(t, compare.Config{})
		ex := exchange(1, "GET")
		write(t, b, request(ex))
		if err := b.Write(t.Context(), b.batch("none", none(ex))); err != nil {
			t.Fatal(err)
		}
		b.check(t, "no-staging-response", "none:no-staging-response")
		if r := b.Report(); r.NotCompared["no-staging-response"] != 1 || r.Endpoints[0].Endpoint != "GET /a" {
			t.Errorf("report %+v", r)
		}
	})
	t.Run("behind production's", func(t *testing.T) {
		b := newBench(t, compare.Config{})
		ex := exchange(1, "GET")
		if err := b.Write(t.Context(), b.batch("production none", response(ex), none(ex))); err != nil {
			t.Fatal(err)
		}
		b.check(t, "no-staging-response", "none:no-staging-response production:no-staging-response")
	})
	t.Run("of the baseline", func(t *testing.T) {
		b := newBench(t, compare.Config{Baseline: true})
		ex := exchange(1, "GET")
		write(t, b, request(ex), response(ex), message(kagami.Replayed, ex, ok+"\r\nproduction"))
		b.check(t, "", "")
		write(t, b.Baseline(), none(ex))
		b.check(t, "same", "")
		if r := b.Report(); r.Compared != 1 || r.Unbased != 1 {
			t.Errorf("report %+v", r)
		}
	})
	t.Run("of staging, while the baseline's comes", func(t *testing.T) {
		b := newBench(t, compare.Config{Baseline: true})
		ex := exchange(1, "GET")
		write(t, b, request(ex), none(ex))
		b.check(t, "", "")
		write(t, b.Baseline(), message(kagami.Replayed, ex, ok+"\r\nbaseline"))
		b.check(t, "no-staging-response", "")
		if r := b.Report(); r.Late != 0 || r.Exchanges != 1 {
			t.Errorf("report %+v", r)
		}
	})
}
