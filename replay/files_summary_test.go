package replay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/replay"
)

func TestFilesSummary(t *testing.T) {
	one := append(requests(1, 0, 20, 300), told(kagami.Response, 3, 301, "r"), told(kagami.Response, 9, 302, "orphan"))
	two := requests(4, 10, 5, 400)
	raw := [][]byte{asGOR(one), append(asGOR(two), "torn"...)}
	dir := files(t, map[string][]byte{"one.gor": raw[0], "two.gor": raw[1]})
	f := newFiles(t, replay.FilesConfig{Speed: 0.5, ReadDepth: 1, MaxWait: 100 * time.Millisecond}, dir)
	s, err := f.Summary(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// 0 10 10 20 (300) 301 400, slowed down: 0 20 20 40 140 142 242
	if s.Files != 2 || s.Bytes != int64(len(raw[0])+len(raw[1])) || s.Requests != 6 || s.Responses != 1 || s.Replayed != 0 ||
		s.Orphans != 1 || s.Late != 1 || !s.First.Equal(at(0)) || !s.Last.Equal(at(400)) ||
		s.Duration != 242*time.Millisecond || s.MinGap != 0 || s.MaxGap != 100*time.Millisecond || s.MeanGap != 242*time.Millisecond/6 || len(s.Damaged) != 1 {
		t.Errorf("%+v", s)
	}
	var text strings.Builder
	if err := s.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"files      2, ", "6 requests, 1 responses", "242ms, gaps of 0s to 100ms, 40.3", "1 out of order", "1 answers without", "two.gor: cut short"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("no %q in\n%s", part, &text)
		}
	}
	log, _ := play(f)
	want(t, log, "1@0 4@20 5@20 2@40 3@140 r@142 6@242")

	f = newFiles(t, replay.FilesConfig{Max: true}, dir)
	if s, err = f.Summary(context.Background()); err != nil || !s.AtOnce || s.Duration != 0 || s.MaxGap != 0 || s.Messages() != 7 {
		t.Errorf("as fast as it goes: %+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Summary(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
