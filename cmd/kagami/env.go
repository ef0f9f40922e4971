package main

import (
	"regexp"
	"strings"
)

// envPrefix is what the names of the environment variables begin with.
const envPrefix = "KAGAMI_"

// serviceLink is the shape of the variables that Kubernetes sets for services
// whose names begin with kagami.
const serviceLink = `^KAGAMI_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`

// readEnv returns what the environment says. A variable without a value is as
// one that is not set; lists have one value a line.
func readEnv(environ []string, c *catalog) (layer, error) {
	var l layer
	link := regexp.MustCompile(serviceLink)
	flags := c.variables()
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.TrimSpace(text) == "" {
			continue
		}
		flag, known := flags[name]
		switch {
		case known:
			if err := l.addVariable(c, flag, name, text); err != nil {
				return layer{}, err
			}
		case link.MatchString(name) || elsewhere(name):
		default:
			l.notices = append(l.notices, unknownVariable(name, flags))
		}
	}
	return l, nil
}

// elsewhere reports whether a variable belongs to another command, or is one
// that images often have.
func elsewhere(name string) bool {
	if name == envPrefix+"VERSION" {
		return true
	}
	for _, c := range []*catalog{mirrorCatalog(), catCatalog(), demoCatalog(), tokenCatalog()} {
		if _, ok := c.variables()[name]; ok {
			return true
		}
	}
	return false
}

func (l *layer) addVariable(c *catalog, flag, name, text string) error {
	values := []string{strings.TrimSpace(text)}
	o, ok := c.option(flag)
	if ok && o.envOnly {
		_, err := l.addNamed(c, flag, values[0], name)
		return err
	}
	if ok && o.isList() {
		values = strings.Split(text, "\n")
	}
	for _, v := range values {
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		if _, err := l.addNamed(c, flag, v, name+"="+quoteIfOdd(shown(v))); err != nil {
			return err
		}
	}
	return nil
}

func unknownVariable(name string, flags map[string]string) string {
	var names []string
	for n := range flags {
		names = append(names, strings.TrimPrefix(n, envPrefix))
	}
	notice := "unknown environment variable " + name
	if like, ok := nearest(strings.TrimPrefix(name, envPrefix), names); ok {
		notice += ": did you mean " + envPrefix + like + "?"
	}
	return notice
}
