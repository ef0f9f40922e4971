package replay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"kagami/internal/gor"
)

// findFiles returns the files that the patterns name, each once.
func findFiles(patterns []string) ([]string, error) {
	var paths []string
	seen := map[string]bool{}
	for _, pattern := range patterns {
		matches, err := match(pattern)
		if err != nil {
			return nil, err
		}
		sort.SliceStable(matches, func(i, j int) bool { return chunkLess(matches[i], matches[j]) })
		for _, path := range matches {
			if !seen[path] {
				seen[path] = true
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// match returns the files that one pattern names. A file whose name is the
// pattern itself is meant literally.
func match(pattern string) ([]string, error) {
	_, err := os.Lstat(pattern)
	if err == nil {
		return []string{pattern}, nil
	}
	if strings.HasPrefix(pattern, "s3://") {
		return nil, fmt.Errorf("%s: objects in S3 cannot be read, copy them to files first", pattern)
	}
	if !strings.ContainsAny(pattern, `*?[`) {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: no such file%s", pattern, hint(pattern))
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", pattern, err)
	}
	if len(matches) == 0 {
		return nil, fmt.Errorf("%s: no file matches this pattern", pattern)
	}
	return matches, nil
}

// hint says what the user may have meant: a recording in chunks is asked for
// with a pattern.
func hint(path string) string {
	stem, ext := cutExt(path)
	if strings.ContainsAny(stem, `*?[\`) {
		return ""
	}
	if chunks, err := filepath.Glob(stem + "_*" + ext); err != nil || len(chunks) == 0 {
		return ""
	}
	return fmt.Sprintf(", but there are chunks of it: did you mean '%s_*%s'?", stem, ext)
}

// cutExt cuts the extension off a path, .gor.gz being one.
func cutExt(path string) (stem, ext string) {
	if stem, ok := strings.CutSuffix(path, ".gz"); ok {
		ext = filepath.Ext(stem)
		return strings.TrimSuffix(stem, ext), ext + ".gz"
	}
	ext = filepath.Ext(path)
	return strings.TrimSuffix(path, ext), ext
}

// chunkLess orders paths by name, and chunks of one recording by number: _2
// comes before _10.
func chunkLess(a, b string) bool {
	stemA, numberA := chunk(a)
	stemB, numberB := chunk(b)
	if stemA != stemB {
		return stemA < stemB
	}
	return numberA < numberB
}

// chunk splits the number off a path such as requests_10.gor, or, as GoReplay
// writes it, requests.gor_10.gz; -1 if it has none.
func chunk(path string) (stem string, number int) {
	base, ext := cutExt(path)
	if gor, ok := strings.CutSuffix(path, ".gz"); ok && strings.HasPrefix(ext, ".gor_") {
		base, ext = gor, ".gz"
	}
	if i := strings.LastIndexByte(base, '_'); i >= 0 {
		if n, err := strconv.ParseUint(base[i+1:], 10, 31); err == nil {
			return base[:i] + ext, int(n)
		}
	}
	return path, -1
}

// A plan is a file to be read, and when: it is opened when the replay comes to
// its first message, so that a recording of thousands of chunks needs few open
// files.
type plan struct {
	path    string
	size    int64
	regular bool
	first   time.Time // the earliest in its first window
	empty   bool
}

// look makes a plan of a file. What can be read once only, such as a pipe, is
// not opened: it counts as the earliest of all.
func look(path string, depth int) (plan, error) {
	info, err := os.Stat(path)
	if err != nil {
		return plan{}, err
	}
	if info.IsDir() {
		return plan{}, fmt.Errorf("%s: is a directory, did you mean '%s'?", path, filepath.Join(path, "*.gor"))
	}
	p := plan{path: path, size: info.Size(), regular: info.Mode().IsRegular()}
	if !p.regular {
		p.size = 0
		return p, nil
	}
	r, err := OpenFile(path)
	if err != nil {
		return plan{}, err
	}
	defer r.Close()
	var bytes int64
	for n := 0; n < depth && bytes < maxWindowBytes; n++ {
		m, err := r.Next()
		var wrong *gor.FormatError
		if errors.As(err, &wrong) {
			return plan{}, err
		}
		if err != nil {
			p.empty = n == 0 && err == io.EOF
			break
		}
		if n == 0 || m.Start.Before(p.first) {
			p.first = m.Start
		}
		bytes += m.Size()
	}
	return p, nil
}
