package main

import (
	"errors"
	"strconv"
	"strings"

	"kagami"
)

// shareValue is a share of requests: 10%, 0.5%.
type shareValue struct{ p **kagami.Share }

func (v shareValue) Set(s string) error {
	if !isNumber(strings.TrimSuffix(s, "%")) {
		return errors.New("want a percentage, as in 10% or 0.5%")
	}
	share, err := kagami.ParseShare(s)
	if err != nil {
		return err
	}
	*v.p = &share
	return nil
}

func (v shareValue) String() string {
	if *v.p == nil {
		return ""
	}
	// The shortest that is read as the same share.
	for digits := 0; ; digits++ {
		s := strconv.FormatFloat((*v.p).Percent(), 'f', digits, 64) + "%"
		if again, err := kagami.ParseShare(s); digits == 20 || err == nil && again == **v.p {
			return s
		}
	}
}

// limitValue is a number of requests a second: 100 or 100/s.
type limitValue struct{ p *float64 }

func (v limitValue) Set(s string) error {
	number := strings.TrimSuffix(s, "/s")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !isNumber(number) || n <= 0 {
		return errors.New("want how many requests a second, as in 100 or 100/s")
	}
	*v.p = n
	return nil
}

func (v limitValue) String() string {
	if *v.p == 0 {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'f', -1, 64) + "/s"
}

// speedValue is how fast recordings are read: 200% or max.
type speedValue struct {
	speed *float64
	max   *bool
}

func fileSpeed(c *FileInputConfig) speedValue { return speedValue{&c.Speed, &c.Max} }
func natsSpeed(c *NATSInputConfig) speedValue { return speedValue{&c.Speed, &c.Max} }

func (v speedValue) Set(s string) error {
	if s == "max" {
		*v.max = true
		return nil
	}
	number, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !isNumber(number) || percent <= 0 {
		return errors.New("want the speed, as in 200% (twice as fast as recorded) or max")
	}
	*v.speed, *v.max = percent/100, false
	return nil
}

func (v speedValue) String() string {
	if *v.max {
		return "max"
	}
	return strconv.FormatFloat(*v.speed*100, 'f', -1, 64) + "%"
}

// isNumber reports whether s is digits, with or without a fraction: no sign,
// no exponent, no infinity.
func isNumber(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return allDigits(whole) && (!point || allDigits(fraction))
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
