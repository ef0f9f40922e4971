package replay_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"kagami"
	"kagami/replay"
)

// The first bytes tell what a recording is, whatever its name.
func TestOpenFile(t *testing.T) {
	messages := requests(1, 0, 10, 20)
	gor, kgm := asGOR(messages), asKGM(t, messages)
	for _, tc := range []struct {
		name   string
		b      []byte
		format replay.Format
	}{
		{"gor", gor, replay.GOR},
		{"kgm", kgm, replay.KGM},
		{"gor, compressed", zipped(t, gor), replay.GOR},
		{"kgm, compressed", zipped(t, kgm), replay.KGM},
		{"gor, compressed in two parts", append(zipped(t, gor[:100]), zipped(t, gor[100:])...), replay.GOR},
		{"kgm, joined end to end", append(kgm, asKGM(t, nil)...), replay.KGM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := files(t, map[string][]byte{"traffic": tc.b})
			r, err := replay.OpenFile(filepath.Join(dir, "traffic"))
			if err != nil {
				t.Fatal(err)
			}
			if r.Format() != tc.format {
				t.Errorf("format %v, want %v", r.Format(), tc.format)
			}
			for i, want := range messages {
				m, err := r.Next()
				if err != nil || !bytes.Equal(m.Raw, want.Raw) || !m.Start.Equal(want.Start) || m.Exchange.ID != want.Exchange.ID {
					t.Fatalf("message %d: %+v, %v", i, m, err)
				}
			}
			for range 2 {
				if m, err := r.Next(); err != io.EOF {
					t.Errorf("at the end: %v, %v", m, err)
				}
			}
			if done, total := r.Progress(); done != int64(len(tc.b)) || total != done {
				t.Errorf("%d of %d bytes read, want %d", done, total, len(tc.b))
			}
			if n := r.Unknown(); n != 0 {
				t.Errorf("%d unknown", n)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := r.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("closed twice: %v", err)
			}
		})
	}
}

func TestOpenFileErrors(t *testing.T) {
	dir := files(t, map[string][]byte{"bad.gz": []byte("\x1f\x8b\x00\x00\x00"), "short.gz": []byte("\x1f\x8b"), "empty": nil})
	for name, says := range map[string]string{
		"none":     "no such file",
		"bad.gz":   "bad.gz: ",
		"short.gz": "short.gz: unexpected EOF",
	} {
		if _, err := replay.OpenFile(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, says)
		}
	}
	r, err := replay.OpenFile(filepath.Join(dir, "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if m, err := r.Next(); err != io.EOF {
		t.Errorf("an empty file: %v, %v", m, err)
	}
}

// An error names the recording and the place, once.
func TestRecordingDamaged(t *testing.T) {
	gor := asGOR(requests(1, 0, 10, 20, 30))
	size := len(gor) / 4
	torn := bytes.Clone(gor)
	torn[size], torn[3*size] = 'x', 'x'
	for _, tc := range []struct {
		name     string
		src      io.Reader
		messages int // -1: how many depends on the compressor
		damages  int
		says     string
	}{
		{"cut", bytes.NewReader(gor[:2*size+30]), 2, 1, "traffic: cut short"},
		{"torn in two places", bytes.NewReader(torn), 2, 2, "traffic: damaged at byte"},
		{"cut and compressed", bytes.NewReader(zipped(t, gor)[:60]), -1, 1, "traffic, decompressed: "},
		{"cut kgm", bytes.NewReader(asKGM(t, requests(1, 0, 10))[:100]), 0, 1, "traffic: cut short"},
		{"not to be read", io.MultiReader(bytes.NewReader(gor[:size]), iotest.ErrReader(errors.New("the disk is gone"))), 1, 1, "the disk is gone"},
	} {
		r, err := replay.NewRecording(tc.src, "traffic")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var m *kagami.Message
		for m, err = r.Next(); err == nil; m, err = r.Next() {
			if n++; m.Kind != kagami.Request {
				t.Errorf("%s: %v", tc.name, m.Kind)
			}
		}
		if tc.messages >= 0 && n != tc.messages || replay.Damages(err) != tc.damages || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %d messages, %d damages, %v; want %d, %d and %q", tc.name, n, replay.Damages(err), err, tc.messages, tc.damages, tc.says)
		}
	}
}
