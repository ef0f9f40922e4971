package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A layer is what one of the command line, the environment and the file says.
type layer struct {
	settings []given
	inputs   []entry
	outputs  []entry
	notices  []string // what the user should know about it
}

// An entry is one input or output.
type entry struct {
	address  given
	settings []given // its own, which only a file has
}

// add puts what was given where it belongs.
func (l *layer) add(g given) error {
	switch {
	case !g.option.entry:
		l.settings = append(l.settings, g)
		return nil
	case g.option.isSwitch():
		if on := false; (boolValue{&on}).Set(g.text) != nil {
			return g.fail(errors.New("want true or false"))
		} else if !on {
			return nil
		}
		g.text = ""
	}
	if g.option.scope.has(scopeInput) {
		l.inputs = append(l.inputs, entry{address: g})
	} else {
		l.outputs = append(l.outputs, entry{address: g})
	}
	return nil
}

// addNamed looks up what was given by name and adds it, or notes why not.
// known is false where there is no such name.
func (l *layer) addNamed(c *catalog, name, text, at string) (known bool, err error) {
	g, notice, ok, err := c.lookUp(name, text, at)
	if err != nil {
		return true, err
	}
	if notice != "" {
		l.notices = append(l.notices, notice)
	}
	if !ok {
		return notice != "" || c.knows(name), nil
	}
	return true, l.add(g)
}

// A resolver turns layers, the weakest first, into a configuration.
type resolver struct {
	catalog *catalog
	role    Role
	layers  []layer
}

// resolve returns the configuration, and what the user should know about it.
// An input or output named in one layer replaces all inputs or outputs of the
// layers below; a setting replaces that setting.
func (r *resolver) resolve() (Config, []string, error) {
	cfg := defaultConfig(r.role)
	var inputs, outputs []entry
	var notices []string
	for _, l := range r.layers {
		notices = append(notices, l.notices...)
		if len(l.inputs) > 0 {
			inputs = l.inputs
		}
		if len(l.outputs) > 0 {
			outputs = l.outputs
		}
		err := r.catalog.apply(l.settings, &subject{config: &cfg, filter: &cfg.Filters}, scopeProcess|scopeFilter, "")
		if err != nil {
			return Config{}, nil, err
		}
	}
	for _, e := range inputs {
		in, err := r.input(e)
		if err != nil {
			return Config{}, nil, err
		}
		cfg.Inputs = append(cfg.Inputs, in)
		if in.Kind == InputRaw {
			notices = append(notices, idleVXLAN(&in)...)
			notices = append(notices, idlePods(&in)...)
		}
	}
	for _, e := range outputs {
		out, err := r.output(e)
		if err != nil {
			return Config{}, nil, err
		}
		cfg.Outputs = append(cfg.Outputs, out)
	}
	notices = append(notices, idleTLS(&cfg)...)
	if len(r.layers) > 0 {
		notices = append(notices, idle(&cfg, r.layers[len(r.layers)-1])...)
	}
	return cfg, notices, finish(&cfg)
}

func (r *resolver) input(e entry) (InputConfig, error) {
	kind := e.address.option.kind
	in := defaultInput(InputKind(kind))
	err := r.settle(e, &subject{input: &in, filter: &in.Filters}, scopeInput, kind)
	if err != nil {
		return in, err
	}
	percent := value(shareValue{&in.Share})
	switch in.Kind {
	case InputFile:
		percent = fileSpeed(&in.File)
	case InputNATS:
		percent = natsSpeed(&in.NATS)
	}
	if in.Address, err = e.cutSuffix(percent, limitValue{&in.Limit}); err == nil {
		err = checkInput(&in)
	}
	if err != nil {
		return in, e.address.fail(err)
	}
	return in, nil
}

func (r *resolver) output(e entry) (OutputConfig, error) {
	kind := e.address.option.kind
	out := defaultOutput(r.role, OutputKind(kind))
	err := r.settle(e, &subject{output: &out, filter: &out.Filters}, scopeOutput, kind)
	if err != nil {
		return out, err
	}
	if out.Address, err = e.cutSuffix(shareValue{&out.Share}, limitValue{&out.Limit}); err == nil {
		err = checkOutput(r.role, &out)
	}
	if err != nil {
		return out, e.address.fail(err)
	}
	return out, nil
}

// settle applies an entry's own settings, and over them those that the layers
// have for all entries of its kind.
func (r *resolver) settle(e entry, t *subject, s scope, kind string) error {
	if err := r.catalog.apply(e.settings, t, s|scopeFilter, kind); err != nil {
		return err
	}
	for _, l := range r.layers {
		if err := r.catalog.apply(l.settings, t, s, kind); err != nil {
			return err
		}
	}
	return nil
}

// cutSuffix is the function of that name for the entry's address. What a
// suffix says, a key of the entry must not say too.
func (e entry) cutSuffix(percent, limit value) (string, error) {
	address, suffixes, err := cutSuffix(e.address.text, percent, limit)
	if err != nil {
		return "", err
	}
	keys := map[string]string{"limit": "/s", "share": "%"}
	if _, speed := percent.(speedValue); speed {
		keys = map[string]string{"limit": "/s", "speed": "%"}
	}
	for _, g := range e.settings {
		for _, suffix := range suffixes {
			if g.option.flag == "" && keys[g.option.key] == suffixSort(suffix) {
				return "", fmt.Errorf("the address ends in |%s, and there is %s too: say it in one place", suffix, g.option.key)
			}
		}
	}
	return address, nil
}

// apply sets what is given on the parts of t that s names, for a kind of input
// or output. Options for one kind are set after those for any.
func (c *catalog) apply(settings []given, t *subject, s scope, kind string) error {
	settings = slices.Clone(settings)
	slices.SortStableFunc(settings, func(a, b given) int { return cmp.Compare(a.option.kind, b.option.kind) })
	cleared := map[*option]bool{}
	for _, g := range settings {
		o := g.option
		if !o.scope.has(s) || o.kind != "" && o.kind != kind {
			continue
		}
		v := o.bind(t)
		if list, ok := v.(listValue); ok && !cleared[o] {
			list.clear()
			cleared[o] = true
		}
		if err := v.Set(g.text); err != nil {
			return g.fail(err)
		}
	}
	return nil
}

// idle says which settings of a layer have nothing to act on. They are no
// error, for GoReplay takes them.
func idle(cfg *Config, l layer) []string {
	kinds := map[string]bool{}
	for _, in := range cfg.Inputs {
		kinds["input-"+string(in.Kind)] = true
	}
	for _, out := range cfg.Outputs {
		kinds["output-"+string(out.Kind)] = true
	}
	var notices []string
	for _, g := range l.settings {
		notices = append(notices, idleKind(g, kinds)...)
		if g.option.flag == "output-http-stats-ms" && !cfg.Stats {
			notices = append(notices, g.at+" changes nothing without --stats")
		}
		notices = append(notices, idleResults(g, cfg)...)
		notices = append(notices, idleCompare(g, cfg)...)
		notices = append(notices, idleTrust(g, kinds)...)
		notices = append(notices, idleState(g, cfg)...)
		notices = append(notices, idleStream(g, cfg)...)
		if g.option.flag == "recognize-tcp-sessions" && !kinds["output-http"] && !cfg.SplitOutput {
			notices = append(notices, g.at+" changes nothing without --output-http or --split-output")
		}
	}
	return notices
}

// idleKind says whether there is no input or output that a setting is for.
func idleKind(g given, kinds map[string]bool) []string {
	var missing []string
	for _, side := range []struct {
		scope scope
		name  string
	}{{scopeOutput, "output-"}, {scopeInput, "input-"}} {
		name := side.name + g.option.kind
		if g.option.kind == "" || !g.option.scope.has(side.scope) {
			continue
		}
		if kinds[name] {
			return nil
		}
		missing = append(missing, "no --"+name)
	}
	if len(missing) == 0 {
		return nil
	}
	return []string{g.at + " changes nothing: there is " + strings.Join(missing, " and ")}
}

// checkInput checks what an input's settings come to, and reads its address.
func checkInput(in *InputConfig) error {
	if err := checkAddress(in.Address); err != nil {
		return err
	}
	switch in.Kind {
	case InputRaw:
		if in.Raw.VXLANPort == 0 {
			in.Raw.VXLANPort = in.Raw.vxlanPort()
		}
		err := parseRaw(in.Address, &in.Raw)
		if err == nil && in.Raw.mirrored() {
			err = checkVXLAN(&in.Raw)
		}
		return err
	case InputTCP:
		return checkHostPort(in.Address, true)
	case InputNATS:
		return checkNATS(in.Address)
	case InputFile:
		if strings.HasPrefix(in.Address, "s3://") {
			return errors.New("S3 is not supported yet: copy the recording to a local file")
		}
		return checkPace(&in.File)
	}
	return nil
}

// checkOutput is checkInput for an output.
func checkOutput(role Role, out *OutputConfig) (err error) {
	if out.Kind == OutputStdout || out.Kind == OutputNull {
		return nil
	}
	if err := checkAddress(out.Address); err != nil {
		return err
	}
	switch out.Kind {
	case OutputHTTP:
		if out.Address, err = parseTarget(out.Address); err == nil && out.HTTP.Baseline != "" {
			if out.HTTP.Baseline, err = parseTarget(out.HTTP.Baseline); err != nil {
				err = fmt.Errorf("--compare-baseline: %w", err)
			}
		}
	case OutputNATS:
		err = checkNATS(out.Address)
	case OutputTCP:
		err = checkReplayers(out)
	case OutputFile:
		if strings.HasPrefix(out.Address, "s3://") {
			return errors.New("S3 is not supported yet: record to a local file and copy that")
		}
		err = fileConfig(role, out).Check()
	}
	return err
}

// checkAddress catches a flag whose value was forgotten, so that it took the
// next flag for it.
func checkAddress(address string) error {
	switch {
	case address == "":
		return errors.New("the address is empty")
	case strings.HasPrefix(address, "-"):
		return errors.New("this looks like the next flag: an address is missing before it")
	}
	return nil
}
