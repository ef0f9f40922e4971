package compare_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"kagami"
	"kagami/replay/compare"
)

// randomValue draws a small document of few different values, so that two of
// them are often nearly the same.
func randomValue(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n < 3 && depth > 0:
		list := []any{}
		for range r.IntN(5) {
			list = append(list, randomValue(r, depth-1))
		}
		return list
	case n < 6 && depth > 0:
		obj := map[string]any{}
		for range r.IntN(4) {
			obj[[]string{"id", "a", "b"}[r.IntN(3)]] = randomValue(r, depth-1)
		}
		return obj
	}
	return []any{nil, true, false, 0.0, 1.0, "", "a"}[r.IntN(7)]
}

// change returns v with one place of it changed or not.
func change(r *rand.Rand, v any) any {
	switch v := v.(type) {
	case []any:
		c := append([]any{}, v...)
		if len(c) == 0 || r.IntN(3) == 0 {
			i := r.IntN(len(c) + 1)
			return append(append(append([]any{}, c[:i]...), randomValue(r, 1)), c[i:]...)
		}
		i := r.IntN(len(c))
		if r.IntN(3) == 0 {
			j := r.IntN(len(c))
			c[i], c[j] = c[j], c[i]
		} else {
			c[i] = change(r, c[i])
		}
		return c
	case map[string]any:
		c := map[string]any{}
		for k, e := range v {
			c[k] = e
		}
		for _, k := range []string{"id", "a", "b"} {
			if e, ok := c[k]; ok && r.IntN(2) == 0 {
				c[k] = change(r, e)
				return c
			}
		}
		return c
	}
	return randomValue(r, 1)
}

// without returns v without the members of that name.
func without(v any, name string) any {
	switch v := v.(type) {
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = without(v[i], name)
		}
		return c
	case map[string]any:
		c := map[string]any{}
		for k, e := range v {
			if k != name {
				c[k] = without(e, name)
			}
		}
		return c
	}
	return v
}

// Two documents are the same where reflect.DeepEqual says so, and there alone:
// with a rule, once what it ignores is taken out.
func TestRandomDocuments(t *testing.T) {
	n := 15_000
	if testing.Short() || raceEnabled {
		n = 3_000
	}
	for name, cfg := range map[string]compare.Config{"all": {}, "without id": {Ignore: []string{"$..id"}}} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			var got compare.Verdict
			cfg.Each = func(v compare.Verdict) { got = v }
			c, err := compare.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			same := 0
			for i := range n {
				x := randomValue(r, 4)
				y := x
				for range r.IntN(4) {
					y = change(r, y)
				}
				ex := exchange(i, "GET")
				write(t, c, message(kagami.Response, ex, document(t, x)), message(kagami.Replayed, ex, document(t, y)))
				if cfg.Ignore != nil {
					x, y = without(x, "id"), without(y, "id")
				}
				equal := reflect.DeepEqual(x, y)
				if equal {
					same++
				}
				if equal != (got.Outcome == compare.Same) {
					t.Fatalf("%v and %v: %+v", x, y, got)
				}
			}
			if same < n/10 || same > n-n/10 {
				t.Errorf("%d of %d are the same", same, n)
			}
		})
	}
}

func document(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return ok + "Content-Type: application/json\r\n\r\n" + string(b)
}
