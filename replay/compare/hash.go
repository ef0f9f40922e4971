package compare

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// hashes hashes the elements of the array at the track's end.
func (d *differ) hashes(t *tree, kids []int32) []uint64 {
	hs := make([]uint64, len(kids))
	for i, k := range kids {
		hs[i] = d.child(t, k, nil, i)
	}
	return hs
}

// child hashes a member or element of what is at the track's end; 0 is one that
// is ignored, or a member of which it is noise that it is there.
func (d *differ) child(t *tree, n int32, key []byte, index int) uint64 {
	if t.nodes[n].pass == d.pass {
		return t.nodes[n].hash
	}
	var h uint64
	if !d.push(key, index) && (key == nil || !d.noisy(Missing, d.group)) {
		h = d.hash(t, n) | 1
	}
	d.pop()
	t.nodes[n].hash, t.nodes[n].pass = h, d.pass
	return h
}

// hash hashes the value at the track's end as far as it is compared: two values
// with no difference have the same hash, and for all that chance can do no others.
func (d *differ) hash(t *tree, n int32) uint64 {
	typ := t.nodes[n].typ
	h := mix(uint64(typ), 1)
	switch typ {
	case boolean:
		if !d.noisy(Value, d.group) && t.src[t.nodes[n].start] == 't' {
			h = mix(h, 1)
		}
	case text, number:
		if !d.noisy(Value, d.group) {
			h = mix(h, maphash.Bytes(d.seed, d.scalar(t, n)))
		}
	case object:
		for _, k := range t.kids(n) {
			key := t.nodes[k].key
			if v := d.child(t, k, key, 0); v != 0 {
				h = mix(h, mix(maphash.Bytes(d.seed, key), v))
			}
		}
	case array:
		unordered := d.noisy(Order, d.group)
		loose := d.comesAndGo()
		for i, k := range t.kids(n) {
			v := d.child(t, k, nil, i)
			switch {
			case loose || v == 0:
			case unordered:
				h += mix(uint64(typ), v)
			default:
				h = mix(h, v)
			}
		}
	}
	return h
}

// comesAndGo reports whether it is noise which elements are in the array at the
// track's end.
func (d *differ) comesAndGo() bool {
	if d.noise == nil {
		return false
	}
	d.push(nil, 0)
	noisy := d.noisy(Missing, d.group)
	d.pop()
	return noisy
}

// scalar is a text's or number's value, as far as it is compared.
func (d *differ) scalar(t *tree, n int32) []byte {
	if t.nodes[n].typ == text {
		return d.rules.plain(t.text(n))
	}
	if raw := t.raw(n); len(d.rules.patterns) > 0 {
		if plain := d.rules.plain(raw); !bytes.Equal(plain, raw) {
			return plain
		}
	}
	d.number = canonical(d.number[:0], t.raw(n))
	return d.number
}

// mix folds two hashes into one, in order.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd1b54a32d192ed03)
	return hi ^ lo
}
