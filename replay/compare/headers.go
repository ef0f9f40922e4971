package compare

import (
	"slices"
	"strings"
)

// headers compares the heads.
func (d *differ) headers(a, b *answer) {
	d.was, d.is = d.fields(d.was[:0], a), d.fields(d.is[:0], b)
	was, is := d.was, d.is
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].name < is[0].name:
			d.add(Difference{Kind: HeaderMissing, Path: was[0].name, Production: excerpt(was[0].value)})
			was = was[1:]
		case len(was) == 0 || is[0].name < was[0].name:
			d.add(Difference{Kind: HeaderAdded, Path: is[0].name, Staging: excerpt(is[0].value)})
			is = is[1:]
		default:
			if !d.sameText(was[0].value, is[0].value) {
				d.add(Difference{Kind: Header, Path: was[0].name, Production: excerpt(was[0].value), Staging: excerpt(is[0].value)})
			}
			was, is = was[1:], is[1:]
		}
	}
}

// A header is the fields of one name, in lower case, joined (RFC 9110 §5.3).
type header struct {
	name  string
	value []byte
}

// A headerName is the name of a header in lower case, and whether it is compared.
type headerName struct {
	lower    string
	compared bool
}

// maxNames is how many names of headers a differ knows at once.
const maxNames = 1000

// name looks up the name of a header as it was sent.
func (d *differ) name(sent []byte) headerName {
	if n, ok := d.names[string(sent)]; ok {
		return n
	}
	lower := strings.ToLower(string(sent[:min(len(sent), maxExcerpt)]))
	n := headerName{strings.ToValidUTF8(lower, "\uFFFD"), d.rules.header(lower)}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = map[string]headerName{}
	}
	if len(sent) <= maxExcerpt {
		d.names[string(sent)] = n
	}
	return n
}

// fields appends the headers to compare, sorted by name, to an empty list.
func (d *differ) fields(all []header, a *answer) []header {
	for _, f := range a.fields {
		if n := d.name(f.name); n.compared {
			all = append(all, header{n.lower, f.value})
		}
	}
	slices.SortStableFunc(all, func(a, b header) int { return strings.Compare(a.name, b.name) })
	joined := all[:0]
	for _, h := range all {
		if n := len(joined); n > 0 && joined[n-1].name == h.name {
			joined[n-1].value = slices.Concat(joined[n-1].value, []byte(", "), h.value)
		} else {
			joined = append(joined, h)
		}
	}
	return joined
}
