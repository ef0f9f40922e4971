package main

import "strconv"

// An object is a JSON object; encoding/json sorts its keys.
type object = map[string]any

// configSchema is what a configuration file may hold, as a JSON schema
// (draft 2020-12), made from the options that there are.
func configSchema(c *catalog) object {
	defaults := helpDefaults(RoleKagami)
	defs := object{"filters": object{
		"description":          "rules for requests: which to keep, and what to change",
		"type":                 []string{"object", "null"},
		"additionalProperties": false,
		"properties":           c.properties(scopeFilter, "", defaults),
	}}
	top := c.properties(scopeProcess, "", defaults)
	top["filters"] = object{"$ref": "#/$defs/filters"}
	top["inputs"] = c.entries(scopeInput, "where traffic comes from", defs, defaults)
	top["outputs"] = c.entries(scopeOutput, "where it goes", defs, defaults)
	return object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Kagami's configuration file",
		"description":          "What kagami --config reads. kagami config check FILE says where a file is wrong.",
		"type":                 []string{"object", "null"},
		"additionalProperties": false,
		"properties":           top,
		"$defs":                defs,
	}
}

// entries is the schema of the list of inputs or outputs. Each kind of entry
// goes into defs.
func (c *catalog) entries(s scope, what string, defs object, defaults *subject) object {
	var kinds []object
	for i := range c.options {
		o := &c.options[i]
		if !o.entry || !o.scope.has(s) {
			continue
		}
		properties := c.properties(s, o.kind, defaults)
		properties["filters"] = object{"$ref": "#/$defs/filters"}
		address := object{"type": []string{"string", "number"}, "description": o.help}
		if o.isSwitch() {
			address["type"] = "boolean"
		}
		properties[o.key] = address
		defs[o.flag] = object{
			"type":                 "object",
			"description":          o.help,
			"additionalProperties": false,
			"required":             []string{o.key},
			"properties":           properties,
		}
		kinds = append(kinds, object{"$ref": "#/$defs/" + o.flag})
	}
	return object{"type": "array", "description": what, "items": object{"oneOf": kinds}}
}

// properties are the settings of one part of the file.
func (c *catalog) properties(s scope, kind string, defaults *subject) object {
	all := object{}
	for i := range c.options {
		o := &c.options[i]
		if !o.in(s, kind) {
			continue
		}
		v := o.bind(newSubjectOf(s))
		one := valueSchema(v)
		if _, ok := v.(listValue); ok {
			one = object{"anyOf": []object{one, {"type": "array", "items": valueSchema(v)}}}
		}
		if o.help != "" {
			one["description"] = o.help
		}
		if text := defaultText(o, defaults); text != "" && o.flag != "" {
			one["default"] = plain(text)
		}
		all[o.key] = one
	}
	return all
}

// newSubjectOf is newSubject with nothing but what a part of the file is about.
func newSubjectOf(s scope) *subject {
	t := newSubject()
	if s.has(scopeOutput) {
		t.input = nil
	}
	return t
}

// valueSchema is what a value may be in the file. What only its own code can
// tell is any plain text.
func valueSchema(v value) object {
	pattern := func(p string) object { return object{"type": []string{"string"}, "pattern": p} }
	const number = `[0-9]+(\.[0-9]+)?`
	switch v := v.(type) {
	case boolValue:
		return object{"type": "boolean"}
	case splitValue:
		return object{"enum": []any{true, false, splitTurns}}
	case intValue:
		return object{"type": "integer", "minimum": v.min}
	case connectionsValue, seedValue:
		return object{"type": "integer", "minimum": 0}
	case millisValue, portValue:
		return object{"type": "integer", "minimum": 1}
	case sizeValue:
		return object{"type": []string{"integer", "string"}, "minimum": v.min, "pattern": `^[0-9]+[kmgtKMGT]?[bB]?$`}
	case durationValue:
		return object{"type": []string{"string", "integer"}, "maximum": 0, "minimum": 0,
			"pattern": `^(0|\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$`}
	case shareValue:
		return object{"type": []string{"string", "number"}, "minimum": 0, "maximum": 100, "pattern": `^` + number + `%?$`}
	case limitValue:
		return object{"type": []string{"string", "number"}, "exclusiveMinimum": 0, "pattern": `^` + number + `(/s)?$`}
	case speedValue:
		return pattern(`^(` + number + `%|max)$`)
	case interface{ choices() []string }:
		var words []any
		for _, w := range v.choices() {
			words = append(words, w)
			if n, err := strconv.Atoi(w); err == nil {
				words = append(words, n)
			}
		}
		return object{"enum": words}
	}
	return object{"type": []string{"string", "number", "boolean"}}
}

// choices are the words that the value may be.
func (v enumValue[S]) choices() []string {
	var all []string
	for _, w := range v.words {
		all = append(all, string(w))
	}
	return all
}

func (v engineValue) choices() []string {
	return []string{engineAuto, engineRing, engineLibpcap, enginePcapFile, engineVXLAN, engineGeneve, engineGoReplay}
}

func (v protocolValue) choices() []string { return []string{"http"} }
