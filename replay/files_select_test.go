package replay_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/replay"
)

// conversation is a request every 100 ms, ten in all, each with its answer
// 250 ms later, that of the first being "r1".
func conversation() (all []*kagami.Message) {
	for i := range 13 {
		if i < 10 {
			all = append(all, told(kagami.Request, byte(i+1), 100*i, string(rune('a'+i))))
		}
		if i >= 3 {
			all = append(all, told(kagami.Response, byte(i-2), 100*(i-3)+250, "r"+string(rune('a'+i-3))))
		}
	}
	return all
}

func after(ms int) replay.Moment { return replay.Moment{Offset: time.Duration(ms) * time.Millisecond} }

func instant(ms int) replay.Moment { return replay.Moment{Time: at(ms)} }

func TestFilesReplayAPart(t *testing.T) {
	const all = "a@0 b@100 c@200 ra@250 d@300 rb@350 e@400 rc@450 f@500 rd@550 g@600 re@650 h@700 rf@750 i@800 rg@850 j@900 rh@950 ri@1050 rj@1150"
	ramp := ramp(t, replay.RampPoint{At: 0, Rate: 40}, replay.RampPoint{At: s(0.1), Rate: 0})
	for _, tc := range []struct {
		name             string
		cfg              replay.FilesConfig
		want             string
		outside, dropped int64 // requests, and answers to them
	}{
		{"all", replay.FilesConfig{}, all, 0, 0},
		{"all, with bounds", replay.FilesConfig{From: instant(0), To: instant(901), Requests: 10, Duration: time.Hour}, all, 0, 0},
		{"from an offset", replay.FilesConfig{From: after(700)}, "h@0 i@100 j@200 rh@250 ri@350 rj@450", 7, 7},
		{"from an instant", replay.FilesConfig{From: instant(650)}, "h@0 i@100 j@200 rh@250 ri@350 rj@450", 7, 7},
		{"to an offset", replay.FilesConfig{To: after(200)}, "a@0 b@100 ra@250 rb@350", 8, 8},
		{"a window of both kinds", replay.FilesConfig{From: after(100), To: instant(201), Speed: 2}, "b@0 c@50 rb@125 rc@175", 8, 8},
		{"as fast as it goes", replay.FilesConfig{From: after(100), To: after(300), Max: true}, "b@max c@max rb@max rc@max", 8, 8},
		{"three requests", replay.FilesConfig{Requests: 3}, "a@0 b@100 c@200 ra@250 rb@350 rc@450", 7, 7},
		{"two requests of a part", replay.FilesConfig{From: after(300), Requests: 2}, "d@0 e@100 rd@250 re@350", 8, 8},
		{"two requests, as fast as it goes", replay.FilesConfig{Requests: 2, Max: true}, "a@max b@max ra@max rb@max", 8, 8},
		{"a duration", replay.FilesConfig{Duration: 300 * time.Millisecond, Speed: 0.5}, "a@0 b@200 ra@299.999999 rb@299.999999", 8, 8},
		{"a rate", replay.FilesConfig{Pacer: replay.Rate(20), Requests: 4}, "a@0 b@50 c@100 ra@100 d@150 rb@150 rc@150 rd@150", 6, 6},
		{"a rate, for a time", replay.FilesConfig{Pacer: replay.Rate(20), Duration: 200 * time.Millisecond}, "a@0 b@50 c@100 ra@100 d@150 rb@150 rc@150 rd@150", 6, 6},
		{"a ramp that ends", replay.FilesConfig{Pacer: ramp}, "a@0 b@29.289322 ra@29.289322 rb@29.289322", 8, 8},
		{"a ramp that ends, whatever the longest wait", replay.FilesConfig{Pacer: ramp, MaxWait: 10 * time.Millisecond}, "a@0 b@10 ra@10 rb@10", 8, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := files(t, map[string][]byte{"a.gor": asGOR(conversation())})
			f := newFiles(t, tc.cfg, dir)
			summary, serr := f.Summary(context.Background())
			log, err := play(f)
			if err != nil || serr != nil {
				t.Error(err, serr)
			}
			want(t, log, tc.want)
			dropped := map[kagami.Reason]int64{}
			if tc.outside > 0 {
				dropped[kagami.OutsideWindow] = tc.outside
				dropped[kagami.RequestDropped] = tc.dropped
			}
			balanced(t, f, 20, int64(len(log)), dropped)
			if summary.Messages() != len(log) || summary.Outside != 20-len(log) {
				t.Errorf("the summary says %d messages, %d outside: want %d, %d", summary.Messages(), summary.Outside, len(log), 20-len(log))
			}
		})
	}
}

// A loop goes on until the number or the duration is reached, whatever round
// that is in, and each round has the same window.
func TestFilesLoopOverAPart(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  replay.FilesConfig
		want string
	}{
		{"a number", replay.FilesConfig{From: after(800), Requests: 5}, "i@0 j@100 ri@250 rj@350 i@466.666666 j@566.666666 ri@716.666666 rj@816.666666 i@933.333332 ri@1183.333332"},
		{"at a rate", replay.FilesConfig{To: after(200), Pacer: replay.Rate(100), Requests: 5}, "a@0 b@10 ra@10 rb@10 a@20 b@30 ra@30 rb@30 a@40 ra@40"},
		{"at a rate for a time", replay.FilesConfig{To: after(200), Pacer: replay.Rate(100), Duration: 25 * time.Millisecond}, "a@0 b@10 ra@10 rb@10 a@20 ra@20"},
		{"a whole round", replay.FilesConfig{To: after(200), Pacer: replay.Rate(100), Requests: 2}, "a@0 b@10 ra@10 rb@10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.Loop = true
			f := newFiles(t, tc.cfg, files(t, map[string][]byte{"a.gor": asGOR(conversation())}))
			log, err := play(f)
			if err != nil {
				t.Error(err)
			}
			want(t, log, tc.want)
			if s := f.Stages()[0].Statement(); s.Missing() != 0 || s.InFlight != 0 || s.Out != int64(len(log)) {
				t.Errorf("ledger %+v after %d messages", s, len(log))
			}
		})
	}
}

// Behind the end a minute is read for answers, and no more; what was read ahead
// is accounted for.
func TestFilesDoNotReadOn(t *testing.T) {
	var all []*kagami.Message
	for i := range 2000 {
		all = append(all, told(kagami.Request, 1, 1000*i, "x"))
	}
	f := newFiles(t, replay.FilesConfig{Requests: 10, ReadDepth: 5}, files(t, map[string][]byte{"a.gor": asGOR(all)}))
	log, err := play(f)
	if err != nil || len(log) != 10 {
		t.Errorf("%d requests, %v; want 10", len(log), err)
	}
	s := f.Stages()[0].Statement()
	if read := s.Out + s.Dropped[kagami.OutsideWindow]; read != s.In || s.In < 70 || s.In > 80 || s.Missing() != 0 || s.InFlight != 0 {
		t.Errorf("ledger %+v: want a little more than 70 read, and all of them accounted for", s)
	}
}

func TestFilesWithoutAPart(t *testing.T) {
	dir := files(t, map[string][]byte{"a.gor": asGOR(conversation())})
	for _, cfg := range []replay.FilesConfig{{From: after(1000)}, {From: instant(5000)}, {From: instant(-2000), To: instant(-1000)}, {From: after(1000), Loop: true}} {
		f := newFiles(t, cfg, dir)
		log, err := play(f)
		if err == nil || !strings.Contains(err.Error(), "there is no request from") || len(log) != 0 {
			t.Errorf("from %v to %v: sent %v, %v", cfg.From, cfg.To, log, err)
		}
	}
	for _, tc := range []struct {
		cfg  replay.FilesConfig
		want string
	}{
		{replay.FilesConfig{From: after(100), To: after(100)}, "from 100ms to 100ms: want an end that is later"},
		{replay.FilesConfig{From: instant(100), To: instant(99)}, "want an end that is later"},
		{replay.FilesConfig{From: after(-1)}, "offsets of 0 or more"},
		{replay.FilesConfig{Requests: -1}, "-1 requests: want 0"},
		{replay.FilesConfig{Duration: -1}, "want 0 (no end) or more"},
		{replay.FilesConfig{Duration: 1, Max: true}, "as fast as it goes and a duration"},
	} {
		tc.cfg.Patterns = []string{dir + "/a.gor"}
		if _, err := replay.NewFiles(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.cfg, err, tc.want)
		}
	}
}
