package compare

import (
	"bytes"
	"slices"
	"strconv"
)

// The bounds of a path as it is reported, in bytes.
const (
	maxPath = 512
	maxKey  = 64
)

// A track is the way from a JSON text's root to the value at hand: as it is
// reported, and as far as ignore rules have come along it.
type track struct {
	rules *rules
	// group is the path with ids and indexes made the same.
	group []byte
	parts []part
	// states is the rules that may still match, one run for each part.
	states []state
}

// A part is a member or an element on the way.
type part struct {
	key   []byte // nil for an element
	index int
	group int // where it begins in track.group
	from  int // where its states begin
}

// A state is a rule of which the steps before step have matched.
type state struct{ rule, step int32 }

// start makes the track begin at the root.
func (t *track) start() {
	t.group = append(t.group[:0], '$')
	t.parts = t.parts[:0]
	t.states = t.states[:0]
	for i := range t.rules.paths {
		t.states = append(t.states, state{rule: int32(i)})
	}
}

// push goes on to a member, or with a nil key to an element. It reports whether
// a rule says that what is there is ignored.
func (t *track) push(key []byte, index int) (ignored bool) {
	before := 0
	if n := len(t.parts); n > 0 {
		before = t.parts[n-1].from
	}
	here := len(t.states)
	t.parts = append(t.parts, part{key: key, index: index, group: len(t.group), from: here})
	if len(t.group) < maxPath {
		t.group = appendGroup(t.group, key)
	}
	for i := before; i < here; i++ {
		s := t.states[i]
		path := t.rules.paths[s.rule]
		st := &path[s.step]
		if st.deep {
			t.add(here, s)
		}
		if st.matches(key, index) {
			if int(s.step)+1 == len(path) {
				ignored = true
			} else {
				t.add(here, state{s.rule, s.step + 1})
			}
		}
	}
	return ignored
}

// add adds a state to those from here on, once.
func (t *track) add(here int, s state) {
	if !slices.Contains(t.states[here:], s) {
		t.states = append(t.states, s)
	}
}

// pop goes back.
func (t *track) pop() {
	last := t.parts[len(t.parts)-1]
	t.group = t.group[:last.group]
	t.states = t.states[:last.from]
	t.parts = t.parts[:len(t.parts)-1]
}

// at is the path as it is, indexes and all.
func (t *track) at() string {
	b := []byte{'$'}
	for _, p := range t.parts {
		if len(b) >= maxPath {
			return string(append(b, "…"...))
		}
		if p.key == nil {
			b = append(strconv.AppendInt(append(b, '['), int64(p.index), 10), ']')
		} else {
			b = appendKey(b, p.key)
		}
	}
	return string(b)
}

// appendGroup appends a part of a path, an id or index made the same as others.
func appendGroup(b, key []byte) []byte {
	if key == nil {
		return append(b, "[*]"...)
	}
	if isID(key) {
		return append(b, ".{id}"...)
	}
	return appendKey(b, key)
}

// appendKey appends a member's name as a JSON path has it.
func appendKey(b, key []byte) []byte {
	plain := len(key) > 0 && len(key) <= maxKey
	for _, c := range key {
		plain = plain && (isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '-' || c >= 0x80)
	}
	if plain && bytes.IndexByte(key, 0xff) < 0 {
		return append(append(b, '.'), key...)
	}
	b = append(b, "['"...)
	cut := key[:min(len(key), maxKey)]
	for _, c := range bytes.ToValidUTF8(cut, []byte("\uFFFD")) {
		switch {
		case c == '\'' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(append(b, `\u00`...), "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	if len(cut) < len(key) {
		b = append(b, "…"...)
	}
	return append(b, "']"...)
}
