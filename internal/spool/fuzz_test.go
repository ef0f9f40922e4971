//go:build unix

package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kagami/internal/spool"
	"kagami/internal/stream"
)

// Whatever is in a spool's directory, it opens or says why not, hands out whole batches only, takes in more, and its
// books balance.
func FuzzSpool(f *testing.F) {
	whole := stream.FileHead()
	whole = append(whole, batch(1, 2, 0)...)
	whole = append(whole, batch(3, 1, 50)...)
	f.Add([]byte("kagami-spool 1\nlistener edge%201\nepoch 00000000000000ff\n"), []byte(nil), whole)
	f.Add([]byte("kagami-spool 1 epoch 7 listener a more words"), []byte("KGMM\x01\x00\x00\x00"), whole[:len(whole)-3])
	f.Add([]byte("kagami-spool 2"), make([]byte, 28), stream.FileHead()[:9])
	f.Fuzz(func(t *testing.T, identity, mark, segment []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, fmt.Sprintf("%016x.kgm", 1))
		for name, b := range map[string][]byte{"identity": identity, "mark": mark, filepath.Base(path): segment} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, found, err := spool.Open(spool.Config{Dir: dir, Listener: "edge"})
		if err != nil {
			return
		}
		defer s.Close()
		n := int64(0)
		for {
			h, b, ok := s.Read(nil, true)
			if !ok {
				break
			}
			if !bytes.Contains(segment, b) {
				t.Fatalf("a batch that was not in the file: %x", b)
			}
			n += int64(h.Records)
		}
		if n < found.Messages {
			t.Errorf("%d found, and %d read", found.Messages, n)
		}
		first := add(t, s, 2, 0)
		if got := drain(t, s); got != fmt.Sprintf("%x-%x", first, first+1) {
			t.Errorf("reads %s, want %d and the next", got, first)
		}
		s.Acknowledge(first + 1)
		if st := balanced(t, s); st.InFlight != 0 {
			t.Errorf("%+v", st)
		}
	})
}
