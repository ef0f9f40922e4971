package compare

// A noise is where the baseline was seen to differ from production at one
// endpoint: by kind of difference and path.
type noise struct {
	paths map[string]*noisyPath
	room  *room
}

// A noisyPath counts what is known of one of them.
type noisyPath struct {
	kind          Kind
	path          string
	learned, left int64
}

func (n *noise) has(key []byte) bool {
	_, ok := n.paths[string(key)]
	return ok
}

// learned counts that the baseline differed there again.
func (n *noise) learned(key []byte) { n.paths[string(key)].learned++ }

// left counts that a difference of staging's was left out.
func (n *noise) left(key []byte) { n.paths[string(key)].left++ }

// learn remembers where the baseline's answer differs.
func (n *noise) learn(found []Difference) {
	for i := range found {
		f := &found[i]
		key := string(appendNoiseKey(nil, f.Kind, []byte(f.Path)))
		p := n.paths[key]
		if p == nil {
			if !n.room.take() {
				continue
			}
			if n.paths == nil {
				n.paths = map[string]*noisyPath{}
			}
			p = &noisyPath{kind: f.Kind, path: f.Path}
			n.paths[key] = p
		}
		p.learned++
	}
}

// appendNoiseKey appends the key of a kind and path. That something comes and
// that it goes are the same noise.
func appendNoiseKey(b []byte, k Kind, path []byte) []byte {
	return append(append(append(b, noiseKind(k)...), ' '), path...)
}

func noiseKind(k Kind) Kind {
	switch k {
	case Added:
		return Missing
	case HeaderAdded:
		return HeaderMissing
	}
	return k
}
