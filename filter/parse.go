package filter

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

// A valueError is a rule that can't be read, and what to write instead.
type valueError struct{ given, hint string }

func (e *valueError) Error() string { return fmt.Sprintf("%q: %s", e.given, e.hint) }

func wrong(given, hint string) error { return &valueError{given, hint} }

// flagError adds the name of the flag that a rule was given with.
func flagError(flag string, err error) error { return fmt.Errorf("--%s %w", flag, err) }

// cutName splits "NAME: REST"; NAME is trimmed, as is the start of REST.
func cutName(given string) (name, rest string, ok bool) {
	name, rest, ok = strings.Cut(given, ":")
	return strings.TrimSpace(name), strings.TrimSpace(rest), ok
}

// nameAnd splits "NAME: what", where NAME is a header's.
func nameAnd(given, what string) (name, rest string, err error) {
	name, rest, ok := cutName(given)
	switch {
	case !ok:
		return "", "", wrong(given, "want NAME: "+what)
	case !isToken(name):
		return "", "", wrong(given, fmt.Sprintf("%q is not a header's name: want NAME: %s", name, what))
	}
	return name, rest, checkText(given, rest)
}

// checkText refuses what would end a header line in the middle (RFC 9110 §5.5).
func checkText(given, text string) error {
	if strings.ContainsAny(text, "\r\n\x00") {
		return wrong(given, "a line break or NUL in a header or URL would break the request: leave it out")
	}
	return nil
}

// checkSettable refuses to edit what says where a message ends.
func checkSettable(given, name string) error {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding":
		return wrong(given, fmt.Sprintf("%s says where the request ends, and bodies are not edited: leave it out", name))
	}
	if !isToken(name) {
		return wrong(given, "not a header's name: want one as in X-Real-IP")
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110 §5.6.2), as methods and
// headers' names are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

func compileAll(given []string) ([]*regexp.Regexp, error) {
	res := make([]*regexp.Regexp, 0, len(given))
	for _, g := range given {
		re, err := compile(g, g)
		if err != nil {
			return nil, err
		}
		res = append(res, re)
	}
	return res, nil
}

// compile compiles the regular expression in a rule. An empty one would match
// everything, which nobody asks for.
func compile(given, pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, wrong(given, "the regular expression is empty: write .* for anything")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, wrong(given, patternHint(err))
	}
	return re, nil
}

// patternHint says where a regular expression is wrong and what to do.
func patternHint(err error) string {
	var se *syntax.Error
	if !errors.As(err, &se) {
		return err.Error()
	}
	hint := fmt.Sprintf("%s at %q", se.Code, se.Expr)
	switch {
	case se.Code == syntax.ErrInvalidPerlOp && strings.HasPrefix(se.Expr, "(?"):
		hint += "; there is no look-ahead or look-behind: use an allow and a disallow rule together"
	case se.Code == syntax.ErrMissingRepeatArgument:
		hint += `; write .* for anything, or \ before a character that is meant as it is`
	default:
		hint += `; write \ before a character that is meant as it is`
	}
	return hint
}

// parseRewriting reads REGEXP, a separator, REPLACEMENT. The separator may be
// in the regular expression too: it is the first one that leaves a whole
// regular expression before it.
func parseRewriting(given, text, separator, want string) (rewriting, error) {
	var first error
	for end := 0; ; end++ {
		i := strings.Index(text[end:], separator)
		if i < 0 {
			break
		}
		end += i
		re, err := compile(given, text[:end])
		if err == nil {
			by := text[end+1:]
			if err := checkText(given, by); err != nil {
				return rewriting{}, err
			}
			return rewriting{re, []byte(by)}, checkGroups(given, re, by)
		}
		if first == nil {
			first = err
		}
		if end == 0 {
			break // no regular expression at all
		}
	}
	if first == nil {
		first = wrong(given, want)
	}
	return rewriting{}, first
}

// checkGroups refuses a replacement that names a group which the regular
// expression does not have: it would be replaced with nothing. It reads the
// replacement as regexp.Expand does.
func checkGroups(given string, re *regexp.Regexp, by string) error {
	for {
		_, after, ok := strings.Cut(by, "$")
		if !ok {
			return nil
		}
		if by, ok = strings.CutPrefix(after, "$"); ok {
			continue
		}
		name, rest := groupName(after)
		by = rest
		if name == "" || hasGroup(re, name) {
			continue
		}
		hint := fmt.Sprintf("there is no group %q to take the place of $%s; write $$ for a dollar sign", name, name)
		if digits := leadingDigits(name); digits != "" && digits != name {
			hint = fmt.Sprintf("there is no group %q: write ${%s}%s, or $$ for a dollar sign", name, digits, name[len(digits):])
		}
		return wrong(given, hint)
	}
}

// groupName returns the name behind a dollar sign, "" for none, and what follows.
func groupName(s string) (name, rest string) {
	in, braces := strings.CutPrefix(s, "{")
	end := strings.IndexFunc(in, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	if end < 0 {
		end = len(in)
	}
	name, rest = in[:end], in[end:]
	if braces {
		if rest, braces = strings.CutPrefix(rest, "}"); !braces {
			return "", s
		}
	}
	return name, rest
}

func hasGroup(re *regexp.Regexp, name string) bool {
	if leadingDigits(name) != name {
		return re.SubexpIndex(name) >= 0
	}
	n := 0
	for _, c := range []byte(name) {
		if n = n*10 + int(c-'0'); n > re.NumSubexp() {
			return false
		}
	}
	return true
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
