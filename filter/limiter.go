package filter

import (
	"math"
	"strconv"
	"strings"

	"kagami"
	"kagami/internal/http1"
)

func headerLimiter(given []string) ([]rule, error) {
	rs := make([]rule, 0, len(given))
	for _, g := range given {
		name, text, err := nameAnd(g, "PERCENT")
		if err != nil {
			return nil, err
		}
		share, err := parseBuckets(g, text)
		if err != nil {
			return nil, err
		}
		rs = append(rs, func(r request) bool {
			value, _ := r.header(name)
			return len(value) == 0 || share.includes(value)
		})
	}
	return rs, nil
}

func paramLimiter(given []string) ([]rule, error) {
	rs := make([]rule, 0, len(given))
	for _, g := range given {
		name, text, ok := strings.Cut(g, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, wrong(g, "want NAME: PERCENT, as in user_id: 25%")
		}
		share, err := parseBuckets(g, text)
		if err != nil {
			return nil, err
		}
		rs = append(rs, func(r request) bool {
			value, ok := http1.Param(r.target, name)
			return !ok || share.includes(value)
		})
	}
	return rs, nil
}

// buckets is a share of values, chosen as GoReplay's limiters choose: a value
// falls into one of 100 buckets by its hash, and the first ones are kept. A
// fraction of a percent keeps a part of one bucket more, by another hash, so
// that shares nest and a whole percentage chooses what GoReplay chooses.
type buckets struct {
	whole uint32       // buckets kept in full, 0 to 100
	rest  kagami.Share // of the next one
}

func (b buckets) includes(value []byte) bool {
	switch bucket := fnv1a(value) % 100; {
	case bucket < b.whole:
		return true
	case bucket == b.whole:
		return b.rest.Includes(kagami.Salt(0).Bytes(value))
	}
	return false
}

// fnv1a is the 32-bit FNV-1a hash. (hash/fnv would cost an allocation each time.)
func fnv1a(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// parseBuckets reads "25%", "0.5%", or the older form "1/4".
func parseBuckets(given, text string) (buckets, error) {
	percent, ok := parsePercent(strings.TrimSpace(text))
	if !ok || !(percent >= 0 && percent <= 100) {
		return buckets{}, wrong(given, "want a percentage from 0% to 100%, as in NAME: 25%")
	}
	whole := math.Floor(percent)
	rest, err := kagami.ShareOf((percent - whole) * 100)
	return buckets{uint32(whole), rest}, err
}

func parsePercent(text string) (percent float64, ok bool) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		return percent, err == nil
	}
	a, b, ok := strings.Cut(text, "/")
	part, err1 := strconv.ParseUint(a, 10, 32)
	of, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil || of == 0 {
		return 0, false
	}
	return float64(part) / float64(of) * 100, true
}
