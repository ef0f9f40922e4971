package filter_test

import (
	"fmt"
	"hash/fnv"
	"math"
	"testing"

	"kagami"
	"kagami/filter"
)

// keeps reports whether the rules keep a request whose header X-User and
// parameter user have the value.
func keeps(c filter.Chain, value string) bool {
	_, r := c.Apply(request(fmt.Sprintf("GET /?a=1&user=%s HTTP/1.1\nX-User: %s\n\n", value, value)))
	return r == kagami.Delivered
}

// A whole percentage chooses the values that GoReplay chooses: those whose
// FNV-1a hash, modulo 100, is less.
func TestLimitersChooseWhatGoReplayChooses(t *testing.T) {
	for _, percent := range []int{0, 1, 25, 50, 99, 100} {
		header := chain(t, filter.Config{HeaderLimiter: list(fmt.Sprintf("X-User: %d%%", percent))})
		param := chain(t, filter.Config{ParamLimiter: list(fmt.Sprintf("user:%d%%", percent))})
		for i := range 500 {
			value := fmt.Sprintf("user-%d", i)
			h := fnv.New32a()
			if _, err := h.Write([]byte(value)); err != nil {
				t.Fatal(err)
			}
			want := h.Sum32()%100 < uint32(percent)
			if got := keeps(header, value); got != want {
				t.Fatalf("header, %d%%: %s kept: %v, want %v", percent, value, got, want)
			}
			if got := keeps(param, value); got != want {
				t.Fatalf("parameter, %d%%: %s kept: %v, want %v", percent, value, got, want)
			}
		}
	}
}

func TestLimitersTakeFractions(t *testing.T) {
	const n = 20_000
	shares := []string{"0%", "0.5%", "1%", "1.5%", "1/3", "33.5%", "99.9%", "100%"}
	percents := []float64{0, 0.5, 1, 1.5, 100. / 3, 33.5, 99.9, 100}
	var chains []filter.Chain
	for _, s := range shares {
		chains = append(chains, chain(t, filter.Config{HeaderLimiter: list("x-user:" + s)}))
	}
	kept := make([]int, len(chains))
	for i := range n {
		before := false
		for j, c := range chains {
			keep := keeps(c, fmt.Sprintf("u%d", i))
			if keep {
				kept[j]++
			}
			if before && !keep {
				t.Fatalf("u%d is in %s and not in %s", i, shares[j-1], shares[j])
			}
			before = keep
		}
	}
	for j, got := range kept {
		p := percents[j] / 100
		mean, sigma := n*p, math.Sqrt(n*p*(1-p))
		if math.Abs(float64(got)-mean) > 4*sigma {
			t.Errorf("%s kept %d of %d, want %.0f ± %.0f", shares[j], got, n, mean, 4*sigma)
		}
	}
}

func TestLimitersWithoutAValue(t *testing.T) {
	tests := []struct {
		name string
		cfg  filter.Config
		raw  string
		keep bool
	}{
		{"no header", filter.Config{HeaderLimiter: list("X-User: 0%")}, get, true},
		{"empty header", filter.Config{HeaderLimiter: list("X-Empty: 0%")}, get, true},
		{"header", filter.Config{HeaderLimiter: list("host: 0%")}, get, false},
		{"no parameter", filter.Config{ParamLimiter: list("user: 0%")}, get, true},
		{"parameter", filter.Config{ParamLimiter: list("id: 0%")}, get, false},
		{"parameters have letter case", filter.Config{ParamLimiter: list("ID: 0%")}, get, true},
		{"empty parameter is hashed", filter.Config{ParamLimiter: list("a: 61%")}, "GET /?a= HTTP/1.1\n\n", false},
		{"empty parameter, in bucket 61", filter.Config{ParamLimiter: list("a: 62%")}, "GET /?a= HTTP/1.1\n\n", true},
		{"two limiters, both keep", filter.Config{HeaderLimiter: list("Host: 100%", "User-Agent: 100%")}, get, true},
		{"two limiters, one keeps", filter.Config{HeaderLimiter: list("Host: 100%", "User-Agent: 0%")}, get, false},
		{"by the client's address", filter.Config{RealIPHeader: "X-Real-IP", HeaderLimiter: list("X-Real-IP: 0%")}, get, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, r := chain(t, tc.cfg).Apply(request(tc.raw))
			if (r == kagami.Delivered) != tc.keep {
				t.Errorf("%v, want kept: %v", r, tc.keep)
			}
		})
	}
}
