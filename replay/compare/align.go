package compare

import (
	"bytes"
	"slices"
)

// The bounds of one alignment, in pairs of elements looked at.
const (
	maxSequence = 1 << 20 // by what is the same
	maxAlike    = 1 << 12 // by what is alike
)

// A match is an element of production's array and the one of staging's that it
// is compared with; less than 0 is none.
type match struct{ x, y int }

// array compares two arrays. What is the same at both ends is set aside; of the
// rest a longest common subsequence is taken as what stayed, so that an element
// put in or taken out is one difference and not one for each behind it.
func (d *differ) array(x, y int32) {
	xs, ys := d.a.kids(x), d.b.kids(y)
	hx, hy := d.hashes(d.a, xs), d.hashes(d.b, ys)
	from := 0
	for ; from < len(hx) && from < len(hy) && hx[from] == hy[from]; from++ {
		d.same(from, xs[from], ys[from])
	}
	n, m := len(hx), len(hy)
	for ; n > from && m > from && hx[n-1] == hy[m-1]; n, m = n-1, m-1 {
		d.same(n-1, xs[n-1], ys[m-1])
	}
	hx, hy = hx[from:n], hy[from:m]
	unordered := d.noisy(Order, d.group)
	if len(hx) > 1 && len(hx) == len(hy) && sameSet(hx, hy) {
		d.emit(Order, x, y)
		return
	}
	var matches []match
	if unordered {
		matches = d.unordered(xs[from:n], ys[from:m], hx, hy)
	} else {
		matches = d.ordered(xs[from:n], ys[from:m], hx, hy)
	}
	for _, p := range matches {
		switch {
		case p.y < 0:
			d.lone(Missing, nil, from+p.x, xs[from+p.x], -1)
		case p.x < 0:
			d.lone(Added, nil, from+p.y, -1, ys[from+p.y])
		default:
			d.pair(nil, from+p.x, xs[from+p.x], ys[from+p.y])
		}
	}
}

// same looks at two elements with the same hash: where noise made it so, it is
// counted.
func (d *differ) same(index int, x, y int32) {
	if d.noise != nil {
		d.pair(nil, index, x, y)
	}
}

func sameSet(a, b []uint64) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// ordered matches elements whose order counts: first what is the same on both
// sides, then between two of those what is alike.
func (d *differ) ordered(xs, ys []int32, hx, hy []uint64) []match {
	if len(hx) == 1 && len(hy) == 1 {
		return []match{{0, 0}}
	}
	fixed := d.sequence(len(hx), len(hy), maxSequence, func(i, j int) int {
		if hx[i] == hy[j] {
			return 1
		}
		return 0
	})
	var all []match
	i, j := 0, 0
	for _, f := range append(fixed, match{len(hx), len(hy)}) {
		for _, g := range d.alike(xs[i:f.x], ys[j:f.y]) {
			all = append(all, shift(g, i, j))
		}
		if i, j = f.x+1, f.y+1; f.x < len(hx) {
			all = append(all, f)
		}
	}
	return all
}

// unordered matches elements whose order is noise.
func (d *differ) unordered(xs, ys []int32, hx, hy []uint64) []match {
	where := map[uint64][]int{}
	for j, h := range hy {
		where[h] = append(where[h], j)
	}
	var same []match
	var lx, ly []int
	for i, h := range hx {
		if js := where[h]; len(js) > 0 {
			same = append(same, match{i, js[0]})
			where[h] = js[1:]
		} else {
			lx = append(lx, i)
		}
	}
	for _, js := range where {
		ly = append(ly, js...)
	}
	slices.Sort(ly)
	pick := func(kids []int32, at []int) []int32 {
		out := make([]int32, len(at))
		for i, k := range at {
			out[i] = kids[k]
		}
		return out
	}
	matches := d.alike(pick(xs, lx), pick(ys, ly))
	for i, p := range matches {
		if p.x >= 0 {
			matches[i].x = lx[p.x]
		}
		if p.y >= 0 {
			matches[i].y = ly[p.y]
		}
	}
	return append(same, matches...)
}

// alike matches elements of which none is the same as its counterpart: objects
// by how many members they share, and what is left over by place.
func (d *differ) alike(xs, ys []int32) []match {
	var pairs []match
	if len(xs)*len(ys) > 1 {
		pairs = d.sequence(len(xs), len(ys), maxAlike, func(i, j int) int { return d.shared(xs[i], ys[j]) })
	}
	var all []match
	i, j := 0, 0
	for _, p := range append(pairs, match{len(xs), len(ys)}) {
		for ; i < p.x || j < p.y; i, j = i+1, j+1 {
			switch {
			case i >= p.x:
				all = append(all, match{-1, j})
			case j >= p.y:
				all = append(all, match{i, -1})
			default:
				all = append(all, match{i, j})
			}
		}
		if i, j = p.x+1, p.y+1; p.x < len(xs) {
			all = append(all, p)
		}
	}
	return all
}

func shift(p match, i, j int) match {
	if p.x >= 0 {
		p.x += i
	}
	if p.y >= 0 {
		p.y += j
	}
	return p
}

// sequence returns the pairs, ascending in both, with the highest sum of
// scores. Beyond limit, or where the budget is used up, it finds none.
func (d *differ) sequence(n, m, limit int, score func(i, j int) int) []match {
	if n == 0 || m == 0 || n > limit/m || n*m > d.cells {
		return nil
	}
	d.cells -= n * m
	w := m + 1
	if need := (n + 1) * w; cap(d.table) < need {
		d.table = make([]uint16, need)
	}
	best := d.table[:(n+1)*w]
	clear(best[n*w:])
	for i := n - 1; i >= 0; i-- {
		best[i*w+m] = 0
		for j := m - 1; j >= 0; j-- {
			best[i*w+j] = max(best[(i+1)*w+j], best[i*w+j+1])
			if s := score(i, j); s > 0 {
				best[i*w+j] = max(best[i*w+j], best[(i+1)*w+j+1]+uint16(s))
			}
		}
	}
	var pairs []match
	for i, j := 0, 0; i < n && j < m; {
		switch s := score(i, j); {
		case s > 0 && best[i*w+j] == best[(i+1)*w+j+1]+uint16(s):
			pairs = append(pairs, match{i, j})
			i, j = i+1, j+1
		case best[i*w+j] == best[(i+1)*w+j]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// shared is how many members two objects share, at most a thousand: the sums of
// [differ.sequence] have 16 bits.
func (d *differ) shared(x, y int32) int {
	if d.a.nodes[x].typ != object || d.b.nodes[y].typ != object {
		return 0
	}
	xs, ys := d.a.kids(x), d.b.kids(y)
	count, looked := 0, 0
	for len(xs) > 0 && len(ys) > 0 && looked < 1000 {
		looked++
		p, q := &d.a.nodes[xs[0]], &d.b.nodes[ys[0]]
		switch bytes.Compare(p.key, q.key) {
		case -1:
			xs = xs[1:]
		case 1:
			ys = ys[1:]
		default:
			if p.hash == q.hash && p.hash != 0 && p.pass == d.pass && q.pass == d.pass {
				count++
			}
			xs, ys = xs[1:], ys[1:]
		}
	}
	return min(count, 1000)
}
