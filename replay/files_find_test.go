package replay_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami/internal/stream"
	"kagami/replay"
)

func TestNewFilesErrors(t *testing.T) {
	dir := files(t, map[string][]byte{
		"good.gor": asGOR(requests(1, 0)), "chunks_0.gor.gz": nil, "chunks_1.gor.gz": nil,
		"cap.pcap": []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00"), "text.txt": []byte("hello\n"), "future.kgm": []byte(stream.FileMagic + "\x63\x00\x00\x00\x00\x00\x00\x00"),
	})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	good := []string{filepath.Join(dir, "good.gor")}
	for _, tc := range []struct {
		name string
		cfg  replay.FilesConfig
		says string
	}{
		{"no pattern", replay.FilesConfig{}, "no files to replay"},
		{"no such file", replay.FilesConfig{Patterns: []string{good[0], dir + "/none.gor"}}, "none.gor: no such file"},
		{"no match", replay.FilesConfig{Patterns: []string{good[0], dir + "/none*.gor"}}, "none*.gor: no file matches"},
		{"chunks", replay.FilesConfig{Patterns: []string{dir + "/chunks.gor.gz"}}, "chunks_*.gor.gz'?"},
		{"bad pattern", replay.FilesConfig{Patterns: []string{dir + "/[a.gor"}}, "syntax error"},
		{"S3", replay.FilesConfig{Patterns: []string{"s3://bucket/key"}}, "S3"},
		{"directory", replay.FilesConfig{Patterns: []string{dir + "/sub"}}, "sub/*.gor'?"},
		{"pcap", replay.FilesConfig{Patterns: []string{dir + "/cap.pcap"}}, "--input-raw"},
		{"text", replay.FilesConfig{Patterns: []string{dir + "/text.txt"}}, `text.txt: not a recording, but text that begins with "hello`},
		{"version", replay.FilesConfig{Patterns: []string{dir + "/future.kgm"}}, "version 99"},
		{"speed", replay.FilesConfig{Patterns: good, Speed: -1}, "speed of -1"},
		{"no number", replay.FilesConfig{Patterns: good, Speed: math.NaN()}, "speed of NaN"},
		{"speed and pacer", replay.FilesConfig{Patterns: good, Speed: 1, Pacer: replay.AtOnce{}}, "want one of them"},
		{"max and pacer", replay.FilesConfig{Patterns: good, Max: true, Pacer: replay.AtOnce{}}, "want one of them"},
		{"wait", replay.FilesConfig{Patterns: good, MaxWait: -1}, "longest wait"},
		{"lead", replay.FilesConfig{Patterns: good, Lead: -1}, "lead of -1"},
		{"depth", replay.FilesConfig{Patterns: good, ReadDepth: -1}, "read depth"},
	} {
		if _, err := replay.NewFiles(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an error that says %q", tc.name, err, tc.says)
		}
	}
}

// A file is read once, whichever patterns name it, and its name may look like a pattern.
func TestFilesPatterns(t *testing.T) {
	dir := files(t, map[string][]byte{"a[1].gor": asGOR(requests(1, 0)), "b.gor": asGOR(requests(2, 10))})
	f := newFiles(t, replay.FilesConfig{Patterns: []string{"a[1].gor", "b.gor", "*.gor"}}, dir)
	log, err := play(f)
	if err != nil {
		t.Error(err)
	}
	want(t, log, "1@0 2@10")
}
