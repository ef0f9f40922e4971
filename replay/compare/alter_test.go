package compare_test

import (
	"slices"
	"strings"

	"kagami"
)

// alter changes an answer in one way, and says which and what is to be found.
func (g *generator) alter(r *resource) (alteration, want string) {
	r.headers = slices.Clone(r.headers)
	if r.nobody || g.IntN(8) == 0 {
		return g.alterHead(r)
	}
	if g.IntN(8) == 0 {
		return g.alterWhole(r)
	}
	if r.doc == nil {
		i := g.IntN(len(r.text))
		r.text = r.text[:i] + "#" + r.text[i+g.IntN(2):]
		return "text", "body"
	}
	r.doc = clone(r.doc)
	for {
		if alteration, want = g.alterJSON(r.doc); want != "" {
			return alteration, want
		}
	}
}

func (g *generator) alterHead(r *resource) (alteration, want string) {
	i := slices.IndexFunc(r.headers, func(h member) bool { return h.key == "Cache-Control" })
	switch g.IntN(4) {
	case 0:
		r.headers[i].val = r.headers[i].val.(string) + ", private"
		return "header", "header cache-control"
	case 1:
		r.headers = slices.Delete(r.headers, i, i+1)
		return "header missing", "header-missing cache-control"
	case 2:
		r.headers = append(r.headers, member{"X-New", "1"})
		return "header added", "header-added x-new"
	}
	old := map[int]string{200: "200", 204: "204", 304: "304"}[r.status]
	if g.IntN(2) == 0 {
		r.status, r.doc, r.text = 500, nil, "no" // an error answers something else
		return "status", "status " + old + " → 500"
	}
	if r.status != 200 {
		r.status = 404
		return "status", "status " + old + " → 404"
	}
	r.status = 203
	return "status", "status 200 → 203"
}

// alterWhole cuts the answer short, or codes it otherwise.
func (g *generator) alterWhole(r *resource) (alteration, want string) {
	switch g.IntN(4) {
	case 0:
		r.flags, r.cut = kagami.Truncated, g.Float64()
		return "truncation", "staging-truncated"
	case 1:
		r.flags, r.cut = kagami.Incomplete, g.Float64()
		return "truncation", "staging-incomplete"
	case 2:
		r.cut = 0.01 + 0.9*g.Float64() // and nobody says so
		return "truncation", "staging-incomplete"
	}
	switch {
	case r.coding == "":
		r.coding = "gzip"
		return "coding", "header-added content-encoding"
	case g.IntN(2) == 0:
		r.coding = ""
		return "coding", "header-missing content-encoding"
	case r.coding == "br":
		r.coding = "zstd"
	default:
		r.coding = "br"
	}
	return "coding", "header content-encoding"
}

// alterJSON changes one place of a document. It returns "" where it chose one
// that cannot be altered.
func (g *generator) alterJSON(v any) (alteration, want string) {
	path := "$"
	for {
		switch c := v.(type) {
		case []member:
			i := g.IntN(len(c))
			if k := slices.IndexFunc(c, isArray); k >= 0 && g.IntN(3) == 0 {
				i = k // there are few of them
			}
			key := "." + c[i].key
			if strings.Trim(c[i].key, "0123456789") == "" {
				key = ".{id}"
			}
			if next, isNode := c[i].val.([]member); isNode && g.IntN(5) > 0 {
				path, v = path+key, next
				continue
			}
			if next, isNode := c[i].val.([]any); isNode && g.IntN(8) > 0 {
				if alteration, want = g.alterArray(&c[i].val, next, path+key); want != "" || len(next) == 0 {
					return alteration, want
				}
				k := g.IntN(len(next))
				path, v = path+key+"[*]", next[k]
				if _, isNode := v.([]member); !isNode {
					return g.alterScalar(&next[k], path)
				}
				continue
			}
			return g.alterMember(c, i, path, key)
		default:
			return "", ""
		}
	}
}

func (g *generator) alterMember(c []member, i int, path, key string) (alteration, want string) {
	if _, noise := c[i].val.(noisy); noise {
		return "", ""
	}
	switch g.IntN(5) {
	case 0:
		// The name alone is changed: one is missing, and one is added.
		c[i].key += "X"
		if key == ".{id}" {
			return "key renamed", "missing " + path + key + "; added " + path + "." + c[i].key
		}
		return "key renamed", "added " + path + key + "X; missing " + path + key
	case 1:
		if _, isNode := c[i].val.([]member); isNode {
			c[i].val = []any{}
		} else if _, isNode := c[i].val.([]any); isNode {
			c[i].val = "none"
		} else if c[i].val == nil {
			c[i].val = false
		} else {
			c[i].val = nil
		}
		return "type", "type " + path + key
	}
	return g.alterScalar(&c[i].val, path+key)
}

func (g *generator) alterScalar(v *any, path string) (alteration, want string) {
	switch old := (*v).(type) {
	case string:
		if g.IntN(4) == 0 {
			*v = 17
			return "type", "type " + path
		}
		*v = old + "x"
	case int:
		*v = old + 1
	case int64:
		*v = old + 1
	case float64:
		*v = old * 2
	case bool:
		*v = !old
	default:
		return "", ""
	}
	return "value", "value " + path
}

// alterArray puts an element in, takes one out or changes the order. "" is left
// to a change within.
func (g *generator) alterArray(at *any, c []any, path string) (alteration, want string) {
	switch i := g.IntN(len(c)); g.IntN(4) {
	case 0:
		var extra any = "extra"
		if _, isNode := c[0].([]member); isNode {
			extra = g.item(5000)
		}
		*at = slices.Insert(c, i, extra)
		return "element added", "added " + path + "[*]"
	case 1:
		*at = slices.Delete(c, i, i+1)
		return "element missing", "missing " + path + "[*]"
	case 2:
		j := (i + 1 + g.IntN(len(c)-1)) % len(c)
		c[i], c[j] = c[j], c[i]
		return "order", "order " + path
	}
	return "", ""
}

func isArray(m member) bool {
	_, ok := m.val.([]any)
	return ok
}
