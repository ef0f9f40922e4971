package output_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/output"
)

func TestFileChunks(t *testing.T) {
	type have []string
	for _, tc := range []struct {
		name string
		path string
		cfg  output.FileConfig
		have have   // files that exist, each with the message 0
		want string // the files then
	}{
		{"none without a limit", "a.gor", output.FileConfig{}, nil, "a.gor"},
		{"by number", "a.gor", output.FileConfig{QueueLimit: 4}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"by size", "a.gor", output.FileConfig{SizeLimit: 450}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"by either", "a.gor", output.FileConfig{SizeLimit: 450, QueueLimit: 8}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"compressed", "a.gor.gz", output.FileConfig{QueueLimit: 4}, nil, "a_0.gor.gz a_1.gor.gz a_2.gor.gz"},
		{"compressed, by size before that", "a.gor.gz", output.FileConfig{SizeLimit: 450}, nil, "a_0.gor.gz a_1.gor.gz a_2.gor.gz"},
		{"kgm", "a.kgm", output.FileConfig{QueueLimit: 4}, nil, "a_0.kgm a_1.kgm a_2.kgm"},
		{"above those that exist", "a.gor", output.FileConfig{QueueLimit: 5}, have{"a_3.gor", "a_10.gor", "b_20.gor", "a_x.gor"}, "a_10.gor a_11.gor a_12.gor a_3.gor a_x.gor b_20.gor"},
		{"going on with the last", "a.gor", output.FileConfig{QueueLimit: 5, Append: true}, have{"a_3.gor", "a_10.gor"}, "a_10.gor a_11.gor a_3.gor"},
		{"going on with the last, by size", "a.gor", output.FileConfig{SizeLimit: 1100, Append: true}, have{"a_0.gor"}, "a_0.gor a_1.gor"},
		{"none to go on with", "a.gor", output.FileConfig{QueueLimit: 5, Append: true}, nil, "a_0.gor a_1.gor"},
		{"as GoReplay names them", "a.gor", output.FileConfig{QueueLimit: 4, GorNames: true}, nil, "a_0.gor a_1.gor a_2.gor"},
		{"as GoReplay, compressed", "a.gor.gz", output.FileConfig{QueueLimit: 4, GorNames: true}, nil, "a.gor_0.gz a.gor_1.gz a.gor_2.gz"},
		{"as GoReplay, without a limit", "a.gor", output.FileConfig{GorNames: true}, nil, "a_0.gor"},
		{"as GoReplay, without a limit, the second time", "a.gor", output.FileConfig{GorNames: true}, have{"a_0.gor"}, "a_0.gor a_1.gor"},
		{"as GoReplay, appending", "a.gor", output.FileConfig{QueueLimit: 4, SizeLimit: 450, GorNames: true, Append: true}, have{"a.gor"}, "a.gor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tc.have {
				if err := os.WriteFile(filepath.Join(dir, name), gor.Append(nil, recorded(0)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tc.cfg.Path = filepath.Join(dir, tc.path)
			f := newFile(t, tc.cfg)
			one := recordTo(t, f, 1, 6)
			two := recordTo(t, f, 6, 11)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantDelivered(t, "the first batch", one, 5)
			wantDelivered(t, "the second batch", two, 5)
			if got := filesIn(t, dir); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			var all []int
			for _, name := range strings.Fields(filesIn(t, dir)) {
				numbers, err := readFile(t, filepath.Join(dir, name))
				if err != io.EOF || len(numbers) == 0 {
					t.Errorf("%s: %v, %v", name, numbers, err)
				}
				all = append(all, numbers...)
			}
			slices.Sort(all)
			all = slices.Compact(all) // 0 was there several times
			if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(all[len(all)-10:], want) {
				t.Errorf("%v", all)
			}
		})
	}
}

func TestFileTokens(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	for _, tc := range []struct {
		path, want string
	}{
		{"%Y-%m-%d_%H%M.gor", "2030-01-02_0304.gor 2030-01-02_0305.gor"},
		{"%Y-%m-%d_%H%M%S.gor", "2030-01-02_030405.gor"}, // when it was begun
		{"%Y%m%d.gor", "20300102.gor"},
		{"100%.%x.%.gor", "100%.%x.%.gor"},
		{"%i.gor", "abcdefgh.gor"},
		{"%t.gor", "1.gor 2.gor"},
		{"%S-%NS-%t.gor", "05-000000678-1.gor 05-000000678-2.gor 06-000000678-1.gor 06-000000678-2.gor"},
		{"%r", recorded(0).Exchange.ID.String() + " " + recorded(1).Exchange.ID.String()},
	} {
		t.Run(strings.ReplaceAll(tc.path, "%", ""), func(t *testing.T) { // the name becomes part of the directory's
			dir := t.TempDir()
			now := time.Date(2030, 1, 2, 3, 4, 5, 678, zone)
			f := newFile(t, output.FileConfig{Path: filepath.Join(dir, tc.path), Instance: "abcdefgh", Now: func() time.Time { return now }})
			b, s := batchOf(t, 0, 2)
			for _, m := range b.Messages { // each with its answer
				answer := recorded(3)
				answer.Kind, answer.Exchange = kagami.Response, m.Exchange
				answer.Raw = []byte("HTTP/1.1 204 No Content\r\n\r\n")
				b.Messages = append(b.Messages, answer)
			}
			if err := f.Write(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Minute + time.Second)
			b, s2 := batchOf(t, 0, 2)
			b.Messages[1].Kind = kagami.Response
			if err := f.Write(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantDelivered(t, "the first batch", s, 4)
			wantDelivered(t, "the second batch", s2, 2)
			if got := filesIn(t, dir); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	t.Run("random instances", func(t *testing.T) {
		dir := t.TempDir()
		for range 2 {
			f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%i")})
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Fields(filesIn(t, dir))
		if len(got) != 2 || len(got[0]) != 8 || strings.Trim(got[0]+got[1], "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q: want two different names of eight letters", got)
		}
	})
}

// More names than files that are kept open: those that were closed are added to.
func TestFileManyNames(t *testing.T) {
	for _, ext := range []string{".gor", ".kgm", ".gor.gz"} {
		t.Run(ext, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%r"+ext)})
				for range 3 {
					s := recordTo(t, f, 0, 40)
					time.Sleep(1500 * time.Millisecond)
					wantDelivered(t, "after the interval", s, 40)
				}
				time.Sleep(5 * time.Second) // long enough for all to be closed
				recordTo(t, f, 0, 40)
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				all := strings.Fields(filesIn(t, dir))
				if len(all) != 40 {
					t.Errorf("%d files", len(all))
				}
				for i := range 40 {
					name := recorded(i).Exchange.ID.String() + ext
					numbers, err := readFile(t, filepath.Join(dir, name))
					if err != io.EOF || !slices.Equal(numbers, []int{i, i, i, i}) {
						t.Errorf("%s: %v, %v", name, numbers, err)
					}
				}
			})
		})
	}
}

// The clock goes back to a name that was there before, as at the end of summer time.
func TestFileNameComesBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2030, 1, 1, 2, 0, 0, 0, time.UTC)
	f := newFile(t, output.FileConfig{Path: filepath.Join(dir, "%H.gor"), Now: func() time.Time { return now }})
	recordTo(t, f, 0, 2)
	now = now.Add(time.Hour)
	recordTo(t, f, 10, 11)
	now = now.Add(-time.Hour)
	recordTo(t, f, 2, 4)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecorded(t, filepath.Join(dir, "02.gor"), 0, 4)
	wantRecorded(t, filepath.Join(dir, "03.gor"), 10, 11)
}
