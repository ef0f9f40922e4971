package output

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kagami"
)

// A nameTemplate is a path with tokens.
type nameTemplate struct {
	parts      []namePart
	perMessage bool // the name depends on the message
}

// A namePart is literal text, or what a token stands for.
type namePart struct {
	text  string
	token string
}

// tokens are what is replaced in a path. A % before anything else is a %.
const (
	timeTokens    = "YmdHMS"
	messageTokens = "rt"
)

// parseName reads a path with tokens.
func parseName(path, instance string) nameTemplate {
	var t nameTemplate
	text := ""
	for path != "" {
		rest, ok := strings.CutPrefix(path, "%")
		switch {
		case !ok || rest == "":
			text += path[:1]
			path = path[1:]
			continue
		case strings.HasPrefix(rest, "NS"):
			t.parts = append(t.parts, namePart{text: text}, namePart{token: "NS"})
			t.perMessage = true
			path = rest[2:]
		case strings.Contains(timeTokens+messageTokens, rest[:1]):
			t.parts = append(t.parts, namePart{text: text}, namePart{token: rest[:1]})
			t.perMessage = t.perMessage || strings.Contains(messageTokens, rest[:1])
			path = rest[1:]
		case rest[0] == 'i':
			text += instance
			path = rest[1:]
			continue
		default:
			text += "%"
			path = rest
			continue
		}
		text = ""
	}
	t.parts = append(t.parts, namePart{text: text})
	return t
}

// render returns the path for a message that is written now; nil will do if
// the name does not depend on the message.
func (t *nameTemplate) render(now time.Time, m *kagami.Message) string {
	if len(t.parts) == 1 {
		return t.parts[0].text
	}
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
		switch p.token {
		case "Y":
			fmt.Fprintf(&b, "%04d", now.Year())
		case "m":
			fmt.Fprintf(&b, "%02d", now.Month())
		case "d":
			fmt.Fprintf(&b, "%02d", now.Day())
		case "H":
			fmt.Fprintf(&b, "%02d", now.Hour())
		case "M":
			fmt.Fprintf(&b, "%02d", now.Minute())
		case "S":
			fmt.Fprintf(&b, "%02d", now.Second())
		case "NS":
			fmt.Fprintf(&b, "%09d", now.Nanosecond())
		case "r":
			b.WriteString(m.Exchange.ID.String())
		case "t":
			b.WriteString(strconv.Itoa(int(m.Kind)))
		}
	}
	return b.String()
}

// randomLetters returns n random letters.
func randomLetters(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}

// A series is the files of one name, after tokens: one, or chunks of which one
// is written at a time.
type series struct {
	name     string
	path     string // of the chunk; empty before the first and when one was full
	index    int    // of the chunk; -1 before the first
	bytes    int64  // in the chunk
	messages int
	chunk    *chunk // nil while no file is open
}

// maxSeries bounds how many names are remembered, so that a File goes on with a
// file that it closed for others.
const maxSeries = 1 << 16

// remember adds a series, and forgets one or the other that is not open.
func (f *File) remember(s *series) {
	for name, old := range f.series {
		if len(f.series) < maxSeries {
			break
		}
		if old.chunk == nil {
			delete(f.series, name)
		}
	}
	f.series[s.name] = s
}

// openNext opens the file that s is to go on with.
func (f *File) openNext(s *series) error {
	var err error
	switch {
	case s.path != "":
		s.chunk, err = openChunk(s.path, goOn, f.cfg.Compress)
	case !f.numbered:
		s.path = s.name
		s.chunk, err = openChunk(s.path, f.mode(), f.cfg.Compress)
	default:
		err = f.openChunkOf(s)
	}
	if err == nil && s.chunk.joined > s.bytes {
		s.bytes = s.chunk.joined
	}
	return err
}

func (f *File) mode() openMode {
	if f.cfg.Append {
		return addTo
	}
	return create
}

// openChunkOf opens the next chunk of a numbered series.
func (f *File) openChunkOf(s *series) error {
	mode := create
	if s.index < 0 {
		highest, err := f.highest(s.name)
		if err != nil {
			return err
		}
		if s.index = highest; s.index >= 0 && f.cfg.Append {
			s.index-- // go on with it
			mode = addTo
		}
	}
	for {
		s.index++
		var err error
		s.path = f.chunkPath(s.name, s.index)
		if s.chunk, err = openChunk(s.path, mode, f.cfg.Compress); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// chunkPath puts a number into a path.
func (f *File) chunkPath(path string, n int) string {
	stem, ext := f.cut(path)
	return stem + "_" + strconv.Itoa(n) + ext
}

// cut splits a path where the number of a chunk goes.
func (f *File) cut(path string) (stem, ext string) {
	ext = filepath.Ext(path)
	stem = strings.TrimSuffix(path, ext)
	if ext == ".gz" && !f.cfg.GorNames {
		inner := filepath.Ext(stem)
		stem, ext = strings.TrimSuffix(stem, inner), inner+ext
	}
	return stem, ext
}

// highest returns the highest number of the chunks that exist, -1 if none.
func (f *File) highest(path string) (int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	stem, ext := f.cut(filepath.Base(path))
	highest := -1
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), stem+"_")
		number, ok2 := strings.CutSuffix(rest, ext)
		if n, err := strconv.ParseUint(number, 10, 31); ok && ok2 && err == nil {
			highest = max(highest, int(n))
		}
	}
	return highest, nil
}
