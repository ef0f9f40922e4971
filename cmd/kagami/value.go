package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"kagami"
	"kagami/internal/duration"
)

// A value is a field of a configuration as text: Set reads what a user wrote,
// String writes it so that Set reads the same ("" for a field that is not set).
type value interface {
	Set(string) error
	String() string
}

// A listValue is a value that can be given several times. Set adds to it;
// clear empties it, for what one layer says replaces what the layer below says.
type listValue interface {
	value
	clear()
}

type boolValue struct{ p *bool }

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	*v.p = b
	return nil
}

func (v boolValue) String() string {
	if !*v.p {
		return ""
	}
	return "true"
}

type stringValue struct{ p *string }

func (v stringValue) Set(s string) error { *v.p = s; return nil }
func (v stringValue) String() string     { return *v.p }

type linesValue struct{ p *[]string }

func (v linesValue) Set(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	*v.p = append(*v.p, s)
	return nil
}
func (v linesValue) String() string { return strings.Join(*v.p, "\n") }
func (v linesValue) clear()         { *v.p = nil }

type intValue struct {
	p   *int
	min int
}

func (v intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.min {
		return fmt.Errorf("want a whole number, %d or more", v.min)
	}
	*v.p = n
	return nil
}

func (v intValue) String() string { return strconv.Itoa(*v.p) }

type seedValue struct{ p *uint64 }

func (v seedValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return errors.New("want a whole number, 0 or more")
	}
	*v.p = n
	return nil
}

func (v seedValue) String() string { return strconv.FormatUint(*v.p, 10) }

type durationValue struct {
	p   *time.Duration
	min time.Duration
}

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want a time with its unit, as in 500ms, 2s or 1h30m")
	}
	if d < v.min {
		return fmt.Errorf("want %v or more", v.min)
	}
	*v.p = d
	return nil
}

func (v durationValue) String() string {
	return duration.Text(*v.p)
}

// millisValue is a duration given as a whole number of milliseconds.
type millisValue struct{ p *time.Duration }

func (v millisValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return errors.New("want a whole number of milliseconds, 1 or more")
	}
	*v.p = time.Duration(n) * time.Millisecond
	return nil
}

func (v millisValue) String() string { return strconv.FormatInt(v.p.Milliseconds(), 10) }

// sizeValue is a number of bytes: 4096, 32kb, 32k, 16m, 1gb. A kb is 1024 bytes.
type sizeValue struct {
	p   *int64
	min int64
}

var errSize = errors.New("want a number of bytes, as in 4096, 64kb, 32mb or 1gb")

// sizeUnits are the powers of 1024 that a size may be in.
const sizeUnits = "kmgt"

func (v sizeValue) Set(s string) error {
	digits := strings.ToLower(strings.TrimSpace(s))
	digits = strings.TrimSuffix(digits, "b")
	unit := int64(1)
	if len(digits) > 0 {
		if i := strings.IndexByte(sizeUnits, digits[len(digits)-1]); i >= 0 {
			unit = 1 << (10 * (i + 1))
			digits = digits[:len(digits)-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return errSize
	}
	if n *= unit; n < v.min {
		return fmt.Errorf("want %s or more", sizeText(v.min))
	}
	*v.p = n
	return nil
}

func (v sizeValue) String() string { return sizeText(*v.p) }

func sizeText(n int64) string {
	unit := ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n /= 1024
		unit = sizeUnits[i:i+1] + "b"
	}
	return strconv.FormatInt(n, 10) + unit
}

// enumValue is one of a few words.
type enumValue[S ~string] struct {
	p     *S
	words []S
}

func (v enumValue[S]) Set(s string) error {
	if !slices.Contains(v.words, S(s)) {
		return fmt.Errorf("want %s", alternatives(v.words))
	}
	*v.p = S(s)
	return nil
}

func (v enumValue[S]) String() string { return string(*v.p) }

// alternatives writes words as "a, b or c".
func alternatives[S ~string](words []S) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// sampleByValue is what a share goes by.
type sampleByValue struct{ p *string }

func (v sampleByValue) Set(s string) error {
	kind, name, named := strings.Cut(s, ":")
	switch kind {
	case "request", "connection", "client":
		if !named {
			*v.p = s
			return nil
		}
	case "header", "cookie", "param":
		if name != "" {
			*v.p = s
			return nil
		}
	}
	return errors.New("want request, connection, client, header:NAME, cookie:NAME or param:NAME")
}

func (v sampleByValue) String() string { return *v.p }

// portsValue is a list of ports and ranges of them: 80,8000-8010.
type portsValue struct{ p *[]uint16 }

func (v portsValue) Set(s string) error {
	ports, err := parsePorts(s)
	if err == nil {
		*v.p = ports
	}
	return err
}

func (v portsValue) String() string { return portsText(*v.p) }

// vlanValue is a VLAN's number.
type vlanValue struct{ p *[]uint16 }

func (v vlanValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n > 4094 {
		return errors.New("want the number of a VLAN, 0 to 4094")
	}
	*v.p = append(*v.p, uint16(n))
	return nil
}

func (v vlanValue) String() string {
	var ids []string
	for _, id := range *v.p {
		ids = append(ids, strconv.Itoa(int(id)))
	}
	return strings.Join(ids, "\n")
}
func (v vlanValue) clear() { *v.p = nil }

// kindsValue is which messages kagami cat shows.
type kindsValue struct{ p *[]kagami.Kind }

func (v kindsValue) Set(s string) error {
	for _, k := range []kagami.Kind{kagami.Request, kagami.Response, kagami.Replayed} {
		if s == k.String() {
			*v.p = append(*v.p, k)
			return nil
		}
	}
	return errors.New("want request, response or replayed")
}

func (v kindsValue) String() string {
	var kinds []string
	for _, k := range *v.p {
		kinds = append(kinds, k.String())
	}
	return strings.Join(kinds, "\n")
}
func (v kindsValue) clear() { *v.p = nil }
