package compare_test

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"
	"unicode/utf8"

	"kagami"
	"kagami/replay/compare"
)

// FuzzJSON holds what is the same by structure against what encoding/json reads.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,null,"x"],"b":{}}`), []byte(`{"b":{},"a":[1,null,"\u0078"]}`))
	f.Add([]byte(`[1,2,3]`), []byte(`[3,2,1]`))
	f.Add([]byte(`[{"a":true},[]]`), []byte(`[[],{"a":false}]`))
	f.Add([]byte(` "a" `), []byte(`"a"`))
	f.Add([]byte(`{"a":1,"a":1}`), []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		head := ok + "Content-Type: application/json\r\n\r\n"
		ex := exchange(1, "GET")
		v := verdict(t, compare.Config{}, message(kagami.Response, ex, head+string(a)), message(kagami.Replayed, ex, head+string(b)))
		x, plainX := simple(a)
		y, plainY := simple(b)
		switch {
		case v.Outcome == compare.NotCompared:
			if len(a) < 100 && len(b) < 100 {
				t.Fatalf("not compared: %s", v.Reason)
			}
		case !plainX || !plainY:
			if bytes.Equal(a, b) != (v.Outcome == compare.Same) && (!json.Valid(a) || !json.Valid(b)) {
				t.Fatalf("%q and %q: %+v", a, b, v)
			}
		case reflect.DeepEqual(x, y) != (v.Outcome == compare.Same):
			t.Fatalf("%q and %q: %+v", a, b, v)
		}
	})
}

// simple reads a JSON text that is UTF-8 throughout, with whole numbers of a few
// digits alone, no name twice and nothing that encoding/json puts something else
// in the place of.
func simple(b []byte) (any, bool) {
	if !utf8.Valid(b) || !json.Valid(b) || bytes.ContainsAny(b, ".eE-") || bytes.Contains(b, []byte(`\u`)) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var names []map[string]bool
	key := false
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false
		}
		switch tok {
		case json.Delim('{'):
			names, key = append(names, map[string]bool{}), true
			continue
		case json.Delim('['):
			names, key = append(names, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			names = names[:len(names)-1]
		default:
			if n := len(names); key && n > 0 && names[n-1] != nil {
				name := tok.(string)
				if names[n-1][name] {
					return nil, false
				}
				names[n-1][name], key = true, false
				continue
			}
		}
		key = len(names) > 0 && names[len(names)-1] != nil
	}
	var v any
	d = json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return v, d.Decode(&v) == nil
}
