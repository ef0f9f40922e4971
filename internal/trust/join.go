package trust

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// A Join is what a listener has to know to stream to a replayer. It is written
// as words, two and two, in any number of lines; # begins a comment:
//
//	kagami-join 1
//	address replayer.example.com:28020
//	fingerprint sha256:5d3f…
//	token edge:q7zM…
//
// There may be several fingerprints, of which the replayer has to have one, so
// that a key can be replaced. Unknown words are skipped, with the one behind.
type Join struct {
	Address      string
	Fingerprints []Fingerprint
	Token        Token
}

const (
	joinMagic       = "kagami-join"
	joinVersion     = "1"
	maxJoin         = 16 << 10
	maxFingerprints = 8
)

// Text writes it.
func (j Join) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", joinMagic, joinVersion)
	b.WriteString("# Whoever has this may send requests to the replayer: keep it secret.\n")
	fmt.Fprintf(&b, "address %s\n", j.Address)
	for _, f := range j.Fingerprints {
		fmt.Fprintf(&b, "fingerprint %s\n", f)
	}
	fmt.Fprintf(&b, "token %s\n", j.Token.Text())
	return b.String()
}

// ParseJoin reads it. No error repeats the token.
func ParseJoin(text string) (Join, error) {
	var j Join
	if len(text) > maxJoin {
		return j, fmt.Errorf("join file of %d bytes: want at most %d", len(text), maxJoin)
	}
	words := joinWords(text)
	if len(words) < 2 || words[0] != joinMagic {
		return j, fmt.Errorf("not a join file: it does not begin with %s", joinMagic)
	}
	if words[1] != joinVersion {
		return j, fmt.Errorf("join file of version %.20q: this kagami reads version %s", words[1], joinVersion)
	}
	for words = words[2:]; len(words) > 0; words = words[2:] {
		if len(words) == 1 {
			return j, errors.New("join file: a value is missing at its end, was all of it copied?")
		}
		if err := j.set(words[0], words[1]); err != nil {
			return j, fmt.Errorf("join file: %w", err)
		}
	}
	return j, j.complete()
}

// joinWords splits a join file, and leaves out comments.
func joinWords(text string) []string {
	var words []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words = append(words, strings.Fields(line)...)
	}
	return words
}

func (j *Join) set(key, v string) error {
	switch key {
	case "address":
		if j.Address != "" {
			return errors.New("two addresses")
		}
		if _, port, err := net.SplitHostPort(v); err != nil || port == "" {
			return fmt.Errorf("address %.80q: want HOST:PORT", v)
		}
		j.Address = v
	case "fingerprint":
		f, err := ParseFingerprint(v)
		if err != nil {
			return err
		}
		if len(j.Fingerprints) == maxFingerprints {
			return fmt.Errorf("more than %d fingerprints", maxFingerprints)
		}
		j.Fingerprints = append(j.Fingerprints, f)
	case "token":
		t, err := ParseToken(v)
		if err != nil {
			return err
		}
		if j.Token.Name != "" {
			return errors.New("two tokens")
		}
		j.Token = t
	}
	return nil
}

func (j *Join) complete() error {
	switch {
	case j.Address == "":
		return errors.New("join file without an address: was all of it copied?")
	case len(j.Fingerprints) == 0:
		return errors.New("join file without a fingerprint: was all of it copied?")
	case j.Token.Name == "":
		return errors.New("join file without a token: was all of it copied?")
	}
	return nil
}

// ReadJoin reads a join file.
func ReadJoin(path string) (Join, error) {
	text, err := readSmall(path, maxJoin)
	if err != nil {
		return Join{}, err
	}
	j, err := ParseJoin(string(text))
	if err != nil {
		return j, fmt.Errorf("%s: %w", path, err)
	}
	return j, nil
}

// readSmall reads a file that is not to be larger than limit.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, err
}
