package output

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"kagami/internal/gor"
	"kagami/internal/stream"
)

// checkAppend finds out whether records can be added to the file at path. tail
// is what has to be written first, to end a last record that has no end.
// What is compressed, and .kgm, is read from start to end for that.
func checkAppend(path string, isKGM, isZip bool) (tail string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return "", err
	}
	switch {
	case isKGM || isZip:
		tail, err = checkWhole(f, isKGM, isZip)
	default:
		tail, err = checkGOR(f)
	}
	if err != nil {
		return "", fmt.Errorf("%s: nothing can be added to it, record to another file: %w", path, err)
	}
	return tail, nil
}

// checkGOR looks at the first record and at the last bytes.
func checkGOR(f *os.File) (tail string, err error) {
	var wrong *gor.FormatError
	if _, err := gor.NewReader(f).Next(); errors.As(err, &wrong) {
		return "", err
	}
	var last [len(gor.Separator)]byte
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-int64(len(last)))
	n, err := f.ReadAt(last[:], from)
	if err != nil && err != io.EOF {
		return "", err
	}
	return missing(string(last[:n])), nil
}

// missing returns what of a separator is missing at the end of a recording. A
// single line end there is taken for the message's, which may be a head.
func missing(last string) string {
	const sep = gor.Separator
	for n := len(sep); n > 1; n-- {
		if strings.HasSuffix(last, sep[:n]) {
			return sep[n:]
		}
	}
	return sep
}

// checkWhole reads all of a file whose end can't be judged by its last bytes.
func checkWhole(f *os.File, isKGM, isZip bool) (tail string, err error) {
	var src io.Reader = f
	if isZip {
		if src, err = gzip.NewReader(f); err != nil {
			return "", err
		}
	}
	ends := &lastBytes{src: src}
	if isKGM {
		r, err := stream.NewFileReader(ends)
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			return "", err
		}
		return "", nil
	}
	r := gor.NewReader(ends)
	if _, err := r.Next(); err != nil && err != io.EOF {
		return "", err
	}
	if _, err := io.Copy(io.Discard, ends); err != nil {
		return "", err
	}
	if ends.last == "" {
		return "", nil
	}
	return missing(ends.last), nil
}

// lastBytes remembers the last bytes read, as many as a separator has.
type lastBytes struct {
	src  io.Reader
	last string
}

func (l *lastBytes) Read(b []byte) (int, error) {
	n, err := l.src.Read(b)
	if n > 0 {
		l.last += string(b[max(0, n-len(gor.Separator)):n])
		l.last = l.last[max(0, len(l.last)-len(gor.Separator)):]
	}
	return n, err
}
