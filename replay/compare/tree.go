package compare

import (
	"bytes"
	"errors"
	"slices"
	"unicode/utf8"
)

// The bounds of a tree.
const (
	maxNodes = 200_000
	maxDepth = 128
)

var (
	errSyntax = errors.New("not JSON")
	errBounds = errors.New("JSON too large or too deep")
)

// A nodeType is a type of JSON value.
type nodeType uint8

const (
	null nodeType = iota
	boolean
	number
	text
	object
	array
)

// A node is a JSON value.
type node struct {
	typ     nodeType
	escaped bool // of a text: it has escapes
	// start and end are where its bytes are.
	start, end int32
	// from and to are where its members or elements are in the tree's children.
	from, to int32
	// key is the name of a member, without escapes.
	key []byte
	// hash is of the value as far as it is compared, made in the pass it names.
	hash uint64
	pass int32
}

// A tree is a JSON text (RFC 8259) taken apart. The members of an object are
// sorted by name, so that their order is none.
type tree struct {
	src      []byte
	nodes    []node
	children []int32
	root     int32
}

// parseTree reads a JSON text. It returns errSyntax for what is none, has a
// name twice in one object, or is not UTF-8, and errBounds for more than
// maxNodes or maxDepth.
func parseTree(src []byte) (*tree, error) {
	if len(src) > 1<<31-1 {
		return nil, errBounds
	}
	if !utf8.Valid(src) {
		return nil, errSyntax
	}
	p := parser{tree: &tree{src: src}}
	guess := min(len(src)/16+4, 1024)
	p.nodes, p.children = make([]node, 0, guess), make([]int32, 0, guess)
	p.space()
	root, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.root = root
	if p.space(); p.at != len(src) {
		return nil, errSyntax
	}
	return p.tree, nil
}

// raw is the bytes of a value as they were written.
func (t *tree) raw(n int32) []byte { return t.src[t.nodes[n].start:t.nodes[n].end] }

// kids is the members or elements of a value.
func (t *tree) kids(n int32) []int32 { return t.children[t.nodes[n].from:t.nodes[n].to] }

// text is what a text says.
func (t *tree) text(n int32) []byte {
	raw := t.raw(n)
	raw = raw[1 : len(raw)-1]
	if t.nodes[n].escaped {
		return unescape(raw)
	}
	return raw
}

// A parser reads a tree.
type parser struct {
	*tree
	at   int
	open []int32 // the children of what is not at its end yet
}

func (p *parser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.src) {
		return p.src[p.at]
	}
	return 0
}

// value reads one value and returns its node.
func (p *parser) value(depth int) (int32, error) {
	if depth > maxDepth || len(p.nodes) >= maxNodes {
		return 0, errBounds
	}
	n := int32(len(p.nodes))
	p.nodes = append(p.nodes, node{start: int32(p.at)})
	var typ nodeType
	var err error
	switch c := p.peek(); c {
	case '{', '[':
		typ = object
		if c == '[' {
			typ = array
		}
		err = p.composite(n, c, depth)
	case '"':
		typ = text
		p.nodes[n].escaped, err = p.skipText()
	case 't':
		typ, err = boolean, p.literal("true")
	case 'f':
		typ, err = boolean, p.literal("false")
	case 'n':
		typ, err = null, p.literal("null")
	default:
		typ, err = number, p.skipNumber()
	}
	p.nodes[n].typ, p.nodes[n].end = typ, int32(p.at)
	return n, err
}

// composite reads an object or an array.
func (p *parser) composite(n int32, bracket byte, depth int) error {
	closing := bracket + 2 // { to }, [ to ]
	p.at++
	p.space()
	from := len(p.open)
	if p.peek() == closing {
		p.at++
		return nil
	}
	for {
		kid, err := p.child(bracket == '{', depth)
		if err != nil {
			return err
		}
		p.open = append(p.open, kid)
		p.space()
		c := p.peek()
		p.at++
		if c == closing {
			break
		}
		if c != ',' {
			return errSyntax
		}
		p.space()
	}
	kids := p.open[from:]
	if bracket == '{' && !p.sort(kids) {
		return errSyntax
	}
	p.nodes[n].from = int32(len(p.children))
	p.children = append(p.children, kids...)
	p.nodes[n].to = int32(len(p.children))
	p.open = p.open[:from]
	return nil
}

// child reads an element, or a member with its name.
func (p *parser) child(named bool, depth int) (int32, error) {
	if !named {
		return p.value(depth + 1)
	}
	start := p.at + 1
	if p.peek() != '"' {
		return 0, errSyntax
	}
	escaped, err := p.skipText()
	if err != nil {
		return 0, err
	}
	key := p.src[start : p.at-1]
	if escaped {
		key = unescape(key)
	}
	p.space()
	if p.peek() != ':' {
		return 0, errSyntax
	}
	p.at++
	p.space()
	n, err := p.value(depth + 1)
	if err == nil {
		p.nodes[n].key = key
	}
	return n, err
}

// sort sorts members by name and reports whether no two have the same.
func (p *parser) sort(kids []int32) bool {
	slices.SortFunc(kids, func(a, b int32) int { return bytes.Compare(p.nodes[a].key, p.nodes[b].key) })
	for i := 1; i < len(kids); i++ {
		if bytes.Equal(p.nodes[kids[i-1]].key, p.nodes[kids[i]].key) {
			return false
		}
	}
	return true
}
