package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kagami/internal/stream"
)

// The files of a spool beside its segments.
const (
	lockName     = "lock"
	identityName = "identity"
	markName     = "mark"
)

// An identity is what the replayer knows the stream by.
type identity struct {
	listener string
	epoch    uint64
}

const identityWord = "kagami-spool"

// readIdentity returns the identity of a spool, and ok false if it has none yet.
func readIdentity(dir string) (id identity, ok bool, err error) {
	path := filepath.Join(dir, identityName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	if id, err = parseIdentity(b); err != nil {
		return id, false, fmt.Errorf("%s: %w", path, err)
	}
	return id, true, nil
}

// parseIdentity reads the text of an identity: words in pairs. Unknown ones are skipped.
func parseIdentity(b []byte) (id identity, err error) {
	words := strings.Fields(string(b[:min(len(b), 4096)]))
	if len(words) < 2 || words[0] != identityWord {
		return id, errors.New("not a spool's identity")
	}
	if words[1] != "1" {
		return id, fmt.Errorf("spool of version %s, and this version reads 1: was it written by a newer one?", strconv.Quote(words[1]))
	}
	var known int
	for i := 2; i+1 < len(words); i += 2 {
		switch words[i] {
		case "listener":
			id.listener, err = url.PathUnescape(words[i+1])
			known++
		case "epoch":
			id.epoch, err = strconv.ParseUint(words[i+1], 16, 64)
			known++
		}
		if err != nil {
			return id, err
		}
	}
	if known != 2 || id.listener == "" || len(id.listener) > stream.MaxListener {
		return id, errors.New("a spool's identity has one listener and one epoch")
	}
	return id, nil
}

func (id identity) text() string {
	return fmt.Sprintf("%s 1\nlistener %s\nepoch %016x\n", identityWord, url.PathEscape(id.listener), id.epoch)
}

// write puts the identity in place whole.
func (id identity) write(dir string) error {
	path := filepath.Join(dir, identityName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(id.text())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A mark is how far a stream has got:
//
//	 0  4 bytes "KGMM"
//	 4  u8  version, 1
//	 5  3 bytes 0
//	 8  u64 number up to which all records are done with: acknowledged or dropped
//	16  u64 number of the last record of which bytes may have been sent
//	24  u32 CRC-32C of the 24 bytes before
type mark struct{ done, sent uint64 }

const (
	markMagic = "KGMM"
	markSize  = 28
)

func (m mark) bytes() []byte {
	b := append(make([]byte, 0, markSize), markMagic...)
	b = append(b, 1, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, m.done)
	b = binary.BigEndian.AppendUint64(b, m.sent)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// parseMark returns ok false for what is no whole mark, as after a power failure.
func parseMark(b []byte) (m mark, ok bool) {
	if len(b) != markSize {
		return m, false
	}
	m = mark{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	return m, bytes.Equal(b, m.bytes())
}
