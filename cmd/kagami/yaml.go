package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The file of --config says what flags say, without their prefixes: settings
// of the process at the top, and below inputs and outputs a list of entries,
// each with one of raw, tcp, file, dummy, http, stdout, null (its address),
// the settings of that kind, share, limit or speed, and filters.

// maxConfigFile is how large a configuration file may be, in bytes.
const maxConfigFile = 1 << 20

// readFile returns what a configuration file says.
func readFile(path string, c *catalog) (layer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return layer{}, usagef("--config %s: %w", path, errors.Unwrap(err))
	}
	if info.Size() > maxConfigFile {
		return layer{}, usagef("--config %s: %d bytes: want at most %d", path, info.Size(), maxConfigFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return layer{}, usagef("--config %s: %w", path, errors.Unwrap(err))
	}
	return parseYAML(path, text, c)
}

// parseYAML is readFile for the bytes of a file.
func parseYAML(path string, text []byte, c *catalog) (layer, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			return layer{}, usagef("%s:%d: %s", path, syntax.GetToken().Position.Line, syntax.GetMessage())
		}
		return layer{}, usagef("%s: %w", path, err)
	}
	r := yamlReader{path: path, catalog: c}
	for i, doc := range file.Docs {
		if i > 0 {
			return layer{}, usagef("%s: want one document, not several", path)
		}
		if err := r.top(doc.Body); err != nil {
			return layer{}, err
		}
	}
	return r.layer, nil
}

type yamlReader struct {
	path    string
	catalog *catalog
	layer   layer
}

func (r *yamlReader) fail(n ast.Node, format string, args ...any) error {
	return usagef("%s:%d: %w", r.path, n.GetToken().Position.Line, fmt.Errorf(format, args...))
}

// top reads the whole document.
func (r *yamlReader) top(n ast.Node) error {
	return r.each(n, "the file", func(key string, value *ast.MappingValueNode) error {
		switch key {
		case "inputs":
			return r.entries(value, scopeInput, &r.layer.inputs)
		case "outputs":
			return r.entries(value, scopeOutput, &r.layer.outputs)
		case "filters":
			return r.filters(value.Value, &r.layer.settings)
		}
		o, ok := r.option(key, scopeProcess, "")
		if !ok {
			return r.unknownTop(value, key)
		}
		return r.setting(o, value, &r.layer.settings)
	})
}

// entries reads a list of inputs or outputs.
func (r *yamlReader) entries(list *ast.MappingValueNode, s scope, to *[]entry) error {
	seq, ok := list.Value.(*ast.SequenceNode)
	if !ok {
		return r.fail(list, "%s: want a list, each entry behind a -", list.Key)
	}
	for _, n := range seq.Values {
		e, err := r.entry(n, s)
		if err != nil {
			return err
		}
		if e.address.option != nil {
			*to = append(*to, e)
		}
	}
	return nil
}

// entry reads one input or output. The zero entry is one that is off.
func (r *yamlReader) entry(n ast.Node, s scope) (entry, error) {
	o, err := r.kind(n, s)
	if err != nil {
		return entry{}, err
	}
	var l layer
	var e entry
	err = r.each(n, "an entry", func(key string, value *ast.MappingValueNode) error {
		switch {
		case key == o.key:
			text, err := r.scalar(value.Value)
			if err != nil {
				return err
			}
			return l.add(given{o, text, r.at(value, text)})
		case key == "filters":
			return r.filters(value.Value, &e.settings)
		}
		own, ok := r.option(key, s, o.kind)
		if !ok {
			return r.unknown(value, key, r.keys(s, o.kind))
		}
		return r.setting(own, value, &e.settings)
	})
	for _, addressed := range append(l.inputs, l.outputs...) {
		e.address = addressed.address
	}
	return e, err
}

// kind finds the key of an entry that says what kind it is of.
func (r *yamlReader) kind(n ast.Node, s scope) (found *option, err error) {
	var kinds []string
	for i := range r.catalog.options {
		if o := &r.catalog.options[i]; o.entry && o.scope.has(s) {
			kinds = append(kinds, o.key)
		}
	}
	err = r.each(n, "an entry", func(key string, value *ast.MappingValueNode) error {
		for i := range r.catalog.options {
			o := &r.catalog.options[i]
			if !o.entry || !o.scope.has(s) || o.key != key {
				continue
			}
			if found != nil {
				return r.fail(value, "%s and %s in one entry: make it two", found.key, key)
			}
			found = o
		}
		return nil
	})
	if err == nil && found == nil {
		err = r.fail(n, "an entry needs %s, with its address", alternatives(kinds))
	}
	return found, err
}

// filters reads the rules below the key filters.
func (r *yamlReader) filters(n ast.Node, to *[]given) error {
	return r.each(n, "filters", func(key string, value *ast.MappingValueNode) error {
		o, ok := r.option(key, scopeFilter, "")
		if !ok {
			return r.unknown(value, key, r.keys(scopeFilter, ""))
		}
		return r.setting(o, value, to)
	})
}

// setting reads the value or the list of values of one option.
func (r *yamlReader) setting(o *option, n *ast.MappingValueNode, to *[]given) error {
	values := []ast.Node{n.Value}
	if seq, ok := n.Value.(*ast.SequenceNode); ok {
		if !o.isList() {
			return r.fail(n, "%s: want one value, not a list", o.key)
		}
		values = seq.Values
	}
	for _, v := range values {
		text, err := r.scalar(v)
		if err != nil {
			return err
		}
		*to = append(*to, given{o, text, r.at(n, text)})
	}
	return nil
}

// each calls f with the keys and values of a mapping. Nothing is an empty one.
func (r *yamlReader) each(n ast.Node, what string, f func(key string, value *ast.MappingValueNode) error) error {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return r.fail(n, "%s: want keys and values, as in \"key: value\"", what)
	}
	for _, v := range values {
		key, err := r.key(v)
		if err != nil {
			return err
		}
		if err := f(key, v); err != nil {
			return err
		}
	}
	return nil
}

// key returns the key of a value. The output null is one, and YAML's null too.
func (r *yamlReader) key(v *ast.MappingValueNode) (string, error) {
	if _, ok := v.Key.(*ast.NullNode); ok {
		return v.Key.GetToken().Value, nil
	}
	return r.scalar(v.Key)
}

// scalar returns a plain value as it was written.
func (r *yamlReader) scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", r.fail(n, "a value is missing")
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		return "", r.fail(n, "anchors, aliases and tags are not supported: write the value out")
	}
	return "", r.fail(n, "want one plain value")
}

func (r *yamlReader) at(n *ast.MappingValueNode, text string) string {
	key, _ := r.key(n)
	return fmt.Sprintf("%s:%d: %s %s", r.path, n.Key.GetToken().Position.Line, key, quoteIfOdd(shown(text)))
}

// option finds the option with a key in one part of the file.
func (r *yamlReader) option(key string, s scope, kind string) (*option, bool) {
	for i := range r.catalog.options {
		if o := &r.catalog.options[i]; o.in(s, kind) && o.key == key {
			return o, true
		}
	}
	return nil, false
}

// in reports whether the option is a setting of a part of the file.
func (o *option) in(s scope, kind string) bool {
	return o.key != "" && !o.entry && o.scope.has(s) && (o.kind == "" || o.kind == kind)
}

// keys are the keys that a part of the file may have.
func (r *yamlReader) keys(s scope, kind string) []string {
	var keys []string
	if s != scopeFilter {
		keys = append(keys, "filters")
	}
	for i := range r.catalog.options {
		if o := &r.catalog.options[i]; o.in(s, kind) && !o.hidden {
			keys = append(keys, o.key)
		}
	}
	return keys
}

// unknown says that there is no such key, and which was meant.
func (r *yamlReader) unknown(n ast.Node, key string, keys []string) error {
	if like, ok := nearest(key, keys); ok {
		return r.fail(n, "unknown key %s: did you mean %s?", quoteIfOdd(key), like)
	}
	return r.fail(n, "unknown key %s: want one of %s", quoteIfOdd(key), strings.Join(keys, ", "))
}

// unknownTop is unknown for a key at the top. It may be the name of a flag,
// which is another key elsewhere.
func (r *yamlReader) unknownTop(n ast.Node, key string) error {
	o, ok := r.catalog.option(key)
	switch {
	case !ok || o.key == "":
		return r.unknown(n, key, append([]string{"inputs", "outputs"}, r.keys(scopeProcess, "")...))
	case o.scope.has(scopeFilter):
		return r.fail(n, "%s goes below filters, as %s", key, o.key)
	case o.scope.has(scopeInput) && o.scope.has(scopeOutput):
		return r.fail(n, "%s goes into the entries of inputs and outputs", key)
	case o.scope.has(scopeInput):
		return r.fail(n, "%s goes into an entry of inputs, as %s", key, o.key)
	}
	return r.fail(n, "%s goes into an entry of outputs, as %s", key, o.key)
}
