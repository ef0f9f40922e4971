package capture

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kagami"
)

// TestCorpus reads and decodes every capture below the folder that
// KAGAMI_CORPUS names, and says how much of it is TCP.
func TestCorpus(t *testing.T) {
	root := os.Getenv("KAGAMI_CORPUS")
	if root == "" {
		t.Skip("KAGAMI_CORPUS does not name a folder with captures")
	}
	files, packets, segments := 0, 0, 0
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pcap" {
			return err
		}
		files++
		p, s := decodeFile(t, path)
		packets, segments = packets+p, segments+s
		if s == 0 {
			t.Logf("%s: no TCP in %d packets", path, p)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d captures, error %v", files, err)
	}
	t.Logf("%d captures, %d packets, %d segments", files, packets, segments)
}

// decodeFile counts the packets and the segments in a capture.
func decodeFile(t *testing.T, path string) (packets, segments int) {
	f, err := OpenFile(path)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer f.Close()
	var d decoder
	var s segment
	for {
		p, err := f.Next()
		if err != nil {
			if err != io.EOF {
				t.Logf("%s: %v", path, err)
			}
			return packets, segments
		}
		packets++
		if d.decode(&p, &s) == kagami.Delivered {
			segments++
			if len(s.payload) > s.length {
				t.Errorf("%s: packet %d has %d bytes of payload on the wire, %d captured", path, packets, s.length, len(s.payload))
			}
		}
	}
}

// TestCorpusWrapped decodes the captures that hold the same segments in different
// links, tunnels and files: NAME__CHANGE.pcap in the folder "derived".
func TestCorpusWrapped(t *testing.T) {
	root := os.Getenv("KAGAMI_CORPUS")
	if root == "" {
		t.Skip("KAGAMI_CORPUS does not name a folder with captures")
	}
	changes := []string{"vlan", "qinq", "raw", "null", "loop", "sll", "sll2", "vxlan", "gre", "ipip", "mpls", "nsec", "pcapng", "ipfrag"}
	bases, err := filepath.Glob(filepath.Join(root, "derived", "*__raw.pcap"))
	if err != nil || len(bases) == 0 {
		t.Fatalf("%d captures, error %v", len(bases), err)
	}
	for _, base := range bases {
		base = strings.TrimSuffix(base, "__raw.pcap")
		want := segments(t, base+"__raw.pcap")
		if len(want) == 0 {
			t.Errorf("%s: no segments", base)
		}
		for _, c := range changes {
			if got := segments(t, base+"__"+c+".pcap"); !slices.Equal(got, want) {
				t.Errorf("%s: %s has %d segments, raw has %d, or they differ", filepath.Base(base), c, len(got), len(want))
			}
		}
	}
}

// segments describes the segments in a capture.
func segments(t *testing.T, path string) (all []string) {
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var d decoder
	var s segment
	for {
		p, err := f.Next()
		if err != nil {
			return all
		}
		if d.decode(&p, &s) == kagami.Delivered {
			all = append(all, fmt.Sprint(s.src, s.dst, s.seq, s.ack, s.flags, s.length, s.payload))
		}
	}
}
