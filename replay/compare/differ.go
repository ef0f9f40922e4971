package compare

import (
	"bytes"
	"hash/maphash"
	"strconv"
)

// maxDifferences is how many differences of one exchange are told apart.
const maxDifferences = 100

// A differ finds where one answer differs from another. It is used for one pair
// after another, by one goroutine at a time.
type differ struct {
	track
	seed maphash.Seed
	// noise is what the baseline has shown of the endpoint; nil is nothing.
	noise *noise
	// learning says that noise is what is looked for, and so not left out.
	learning bool
	// status is the baseline's, 0 if it has not answered. That a status differs is
	// noise for the one exchange alone, not for the endpoint: a baseline that
	// fails once is not to hide that staging fails.
	status int

	a, b   *tree
	found  []Difference
	masked int
	cut    bool

	pass  int32 // counts the pairs of trees
	cells int   // what aligning arrays may still cost
	table []uint16
	// Room for what is looked up or hashed at once.
	key, number []byte
	// What is known of headers' names, and room for those of two answers.
	names   map[string]headerName
	was, is []header
	// Room for the fields of the answers.
	room [numSides][]field
}

// compare compares staging's answer b with production's a. It appends to found
// and reports whether the bodies could be compared: a defect of one of them
// stands in the way only if all else is the same.
func (d *differ) compare(a, b *answer) (bodies bool) {
	d.found, d.masked, d.cut = d.found[:0], 0, false
	if a.status != b.status {
		d.statuses(a.status, b.status)
		if a.status/100 != b.status/100 {
			return true // an error's head and body have nothing in common with those of a success
		}
	}
	d.headers(a, b)
	switch {
	case d.rules.nobody:
	case a.defect != "" || b.defect != "":
		return false
	case a.sameBody(b):
	case a.tooDeep && (b.tooDeep || b.tree != nil) || b.tooDeep && a.tree != nil:
		return bytes.Equal(a.plain, b.plain)
	case a.tree != nil && b.tree != nil:
		d.trees(a.tree, b.tree)
	default:
		d.bytes(a.plain, b.plain)
	}
	return true
}

// statuses adds the difference of two statuses.
func (d *differ) statuses(was, is int) {
	switch {
	case d.learning:
	case is == d.status:
		d.masked++
	default:
		p, s := strconv.Itoa(was), strconv.Itoa(is)
		d.add(Difference{Kind: Status, Path: p + " → " + s, Production: p, Staging: s})
	}
}

// release lets go of the answers.
func (d *differ) release() {
	d.a, d.b, d.noise = nil, nil, nil
	clear(d.was[:cap(d.was)])
	clear(d.is[:cap(d.is)])
	for _, fields := range d.room {
		clear(fields)
	}
}

// known reports whether the baseline has shown that a difference means nothing,
// and counts it.
func (d *differ) known(k Kind, path []byte) bool {
	if !d.noisy(k, path) {
		return false
	}
	if d.learning {
		d.noise.learned(d.key)
	} else {
		d.noise.left(d.key)
		d.masked++
	}
	return true
}

// noisy reports whether the baseline has shown that there are differences of
// that kind at the path.
func (d *differ) noisy(k Kind, path []byte) bool {
	if d.noise == nil || len(d.noise.paths) == 0 {
		return false
	}
	d.key = appendNoiseKey(d.key[:0], k, path)
	return d.noise.has(d.key)
}

// add adds a difference, if it is not noise.
func (d *differ) add(f Difference) {
	if d.known(f.Kind, []byte(f.Path)) {
		return
	}
	for i := range d.found {
		if d.found[i].Kind == f.Kind && d.found[i].Path == f.Path {
			d.found[i].Count++
			return
		}
	}
	if len(d.found) == maxDifferences {
		d.cut = true
		return
	}
	f.Count = 1
	if f.At == "" {
		f.At = f.Path
	}
	d.found = append(d.found, f)
}

// emit adds a difference at the track's end. x and y are the two values, less
// than 0 for none.
func (d *differ) emit(k Kind, x, y int32) {
	if d.known(k, d.group) {
		return
	}
	for i := range d.found {
		if d.found[i].Kind == k && d.found[i].Path == string(d.group) {
			d.found[i].Count++
			return
		}
	}
	f := Difference{Kind: k, Path: string(d.group), At: d.at()}
	if x >= 0 {
		f.Production = excerpt(d.a.raw(x))
	}
	if y >= 0 {
		f.Staging = excerpt(d.b.raw(y))
	}
	d.add(f)
}

// sameText reports whether two texts differ in nothing but what patterns match.
func (d *differ) sameText(a, b []byte) bool {
	return bytes.Equal(a, b) || len(d.rules.patterns) > 0 && bytes.Equal(d.rules.plain(a), d.rules.plain(b))
}

// bytes compares bodies that are not both JSON.
func (d *differ) bytes(a, b []byte) {
	if d.sameText(a, b) {
		return
	}
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	d.add(Difference{Kind: Body, Offset: at, At: "byte " + strconv.Itoa(at), Production: excerpt(a[at:]), Staging: excerpt(b[at:])})
}

// maxCells bounds what aligning the arrays of one pair may cost, in pairs of
// elements looked at.
const maxCells = 4 << 20

// trees compares two JSON texts.
func (d *differ) trees(a, b *tree) {
	d.a, d.b = a, b
	d.pass++
	d.cells = maxCells
	d.start()
	d.node(a.root, b.root)
}

// node compares two values.
func (d *differ) node(x, y int32) {
	was, is := d.a.raw(x), d.b.raw(y)
	if bytes.Equal(was, is) {
		return
	}
	typ := d.a.nodes[x].typ
	if typ != d.b.nodes[y].typ {
		d.emit(Type, x, y)
		return
	}
	same := true
	switch typ {
	case object:
		d.object(x, y)
	case array:
		d.array(x, y)
	case text:
		same = d.sameText(d.a.text(x), d.b.text(y))
	case number:
		same = sameNumber(was, is) || d.sameText(was, is)
	default:
		same = false
	}
	if !same {
		d.emit(Value, x, y)
	}
}

// object compares two objects, whose members are sorted by name.
func (d *differ) object(x, y int32) {
	xs, ys := d.a.kids(x), d.b.kids(y)
	for len(xs) > 0 || len(ys) > 0 {
		order := -1
		switch {
		case len(xs) == 0:
			order = 1
		case len(ys) > 0:
			order = bytes.Compare(d.a.nodes[xs[0]].key, d.b.nodes[ys[0]].key)
		}
		switch {
		case order < 0:
			d.lone(Missing, d.a.nodes[xs[0]].key, 0, xs[0], -1)
			xs = xs[1:]
		case order > 0:
			d.lone(Added, d.b.nodes[ys[0]].key, 0, -1, ys[0])
			ys = ys[1:]
		default:
			d.pair(d.a.nodes[xs[0]].key, 0, xs[0], ys[0])
			xs, ys = xs[1:], ys[1:]
		}
	}
}

// lone reports a member or element that one side alone has.
func (d *differ) lone(k Kind, key []byte, index int, x, y int32) {
	if !d.push(key, index) {
		d.emit(k, x, y)
	}
	d.pop()
}

// pair compares a member or element that both have.
func (d *differ) pair(key []byte, index int, x, y int32) {
	if !d.push(key, index) {
		d.node(x, y)
	}
	d.pop()
}
