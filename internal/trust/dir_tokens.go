package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A TokenInfo is what is known of a token.
type TokenInfo struct {
	Name    string
	Created time.Time
	// Err says why it is not valid, although its file is there.
	Err error
}

// Add makes a token, and writes a join file of mode 0600 with it to path, ""
// for NAME.join in the directory. It makes the key too, if there is none.
func (d *Dir) Add(name, address, path string) (joinFile string, err error) {
	if path == "" {
		path = filepath.Join(d.path, name+joinSuffix)
	}
	return path, d.add(name, address, func(text string) error {
		err := writeNew(path, text)
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s exists already: move it away first", path)
		}
		return err
	})
}

// AddTo is Add, and writes what the join file says to w instead.
func (d *Dir) AddTo(w io.Writer, name, address string) error {
	return d.add(name, address, func(text string) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// add makes a token, and has a join file written; without that there is no token.
func (d *Dir) add(name, address string, write func(join string) error) error {
	token, err := NewToken(name)
	if err != nil {
		return err
	}
	cert, _, err := d.Certificate()
	if err != nil {
		return err
	}
	hash := token.hash()
	text := fmt.Sprintf("sha256:%x\n", hash[:])
	if err := writeNew(d.tokenPath(name), text); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("there is a token %q already: revoke it first, or take another name", name)
		}
		return err
	}
	j := Join{Address: address, Fingerprints: []Fingerprint{FingerprintOf(cert.Certificate[0])}, Token: token}
	if err := write(j.Text()); err != nil {
		return errors.Join(err, os.Remove(d.tokenPath(name)))
	}
	return nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
	}
	return err
}

// Revoke makes a token invalid from now on, and deletes its join file if that
// still lies in the directory.
func (d *Dir) Revoke(name string) error {
	if err := CheckTokenName(name); err != nil {
		return err
	}
	err := os.Remove(d.tokenPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no token %q in %s", name, d.path)
	}
	if err == nil {
		err = os.Remove(filepath.Join(d.path, name+joinSuffix))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// Tokens lists the tokens by name.
func (d *Dir) Tokens() ([]TokenInfo, error) {
	files, err := os.ReadDir(filepath.Join(d.path, tokenDir))
	if err != nil {
		return nil, err
	}
	var tokens []TokenInfo
	for _, f := range files {
		if CheckTokenName(f.Name()) != nil {
			continue
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // revoked at this moment
		}
		if err != nil {
			return nil, err
		}
		_, err = d.tokenHash(f.Name())
		tokens = append(tokens, TokenInfo{f.Name(), info.ModTime(), err})
	}
	return tokens, nil
}

func (d *Dir) tokenPath(name string) string { return filepath.Join(d.path, tokenDir, name) }

// errDamagedToken is the error of a token's file that holds no hash.
var errDamagedToken = errors.New("its file is damaged: revoke it, and add it again")

// tokenHash returns the hash of a valid token.
func (d *Dir) tokenHash(name string) (tokenHash, error) {
	var h tokenHash
	b, err := readSmall(d.tokenPath(name), 1<<10)
	if err != nil {
		return h, err
	}
	digits, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "sha256:")
	if n, err := hex.DecodeString(digits); ok && err == nil && len(n) == len(h) {
		return tokenHash(n), nil
	}
	return h, errDamagedToken
}

// admit checks the token that a listener has sent.
func (d *Dir) admit(text string) (*Identity, error) {
	if text == "" {
		return nil, untrusted("no token: the listener has no join file of this replayer")
	}
	token, err := ParseToken(text)
	if err != nil {
		return nil, untrusted("%v", err)
	}
	hash, err := d.tokenHash(token.Name)
	if !hash.is(token.hash()) || err != nil {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("token %q: %w", token.Name, err)
		}
		return nil, untrusted("the token is not valid, or not any more: it needs a new join file (kagami token add)")
	}
	return &Identity{Name: token.Name, still: func() error { return d.still(token.Name, hash) }}, nil
}

// still says that a token was revoked since it was admitted. A disk that cannot
// be read is no reason to think so.
func (d *Dir) still(name string, was tokenHash) error {
	hash, err := d.tokenHash(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !hash.is(was) {
		return untrusted("the token %q was revoked", name)
	}
	return nil
}

func untrusted(format string, args ...any) error {
	return untrustedError(fmt.Sprintf(format, args...))
}

// An untrustedError is an ErrUntrusted that says no more than its text.
type untrustedError string

func (e untrustedError) Error() string        { return string(e) }
func (e untrustedError) Is(target error) bool { return target == ErrUntrusted }
