package report

import (
	"math"
	"slices"
	"strconv"
)

// Median is the middle of values, or the mean of the two in the middle; NaN of none.
func Median(values []float64) float64 {
	return Quantile(values, 0.5)
}

// Quantile is the value below which the fraction q of values lies, between two of them
// in proportion; NaN of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	below := int(at)
	if below == len(v)-1 {
		return v[below]
	}
	return v[below] + (at-float64(below))*(v[below+1]-v[below])
}

// Kept is what is left of a throughput, measured between two runs without a listener.
func Kept(with, before, after float64) float64 { return with / ((before + after) / 2) }

// Slope is how much values that were taken at equal intervals grow in one of them, by
// least squares; 0 of fewer than two.
func Slope(values []float64) float64 {
	n := float64(len(values))
	if n < 2 {
		return 0
	}
	var x, y, xx, xy float64
	for i, v := range values {
		x += float64(i)
		y += v
		xx += float64(i) * float64(i)
		xy += float64(i) * v
	}
	return (n*xy - x*y) / (n*xx - x*x)
}

// Windows is the mean of each run of n values that follow one another.
func Windows(values []float64, n int) []float64 {
	var means []float64
	for i := 0; i+n <= len(values); i++ {
		sum := 0.0
		for _, v := range values[i : i+n] {
			sum += v
		}
		means = append(means, sum/float64(n))
	}
	return means
}

// Round keeps five significant digits: no measurement here has more.
func Round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
	if err != nil {
		return v
	}
	return r
}
