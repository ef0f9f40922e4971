package replay_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kagami/replay"
)

const never = time.Duration(math.MaxInt64)

func ramp(t testing.TB, points ...replay.RampPoint) *replay.Ramp {
	t.Helper()
	r, err := replay.NewRamp(points...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func s(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

func TestRamp(t *testing.T) {
	type count struct {
		at   time.Duration
		want float64
	}
	type due struct {
		n    int
		want time.Duration
	}
	for _, tc := range []struct {
		name   string
		points []replay.RampPoint
		text   string
		counts []count
		dues   []due
	}{
		{
			"from 0, and on", []replay.RampPoint{{s(10), 100}, {s(60), 1000}}, "10s:100,1m:1000",
			[]count{{-s(1), 0}, {0, 0}, {s(1), 5}, {s(10), 500}, {s(35), 500 + 25*325}, {s(60), 28000}, {s(61), 29000}},
			[]due{{0, 0}, {5, s(1)}, {500, s(10)}, {500 + 25*325, s(35)}, {28000, s(60)}, {28500, s(60.5)}, {1_028_000, s(1060)}},
		},
		{
			"a steady rate", []replay.RampPoint{{0, 200}}, "0s:200",
			[]count{{s(0.5), 100}, {s(3600), 720000}},
			[]due{{0, 0}, {1, 5 * time.Millisecond}, {720_000, time.Hour}},
		},
		{
			"steps", []replay.RampPoint{{0, 10}, {s(1), 10}, {s(1), 1000}, {s(2), 1000}, {s(2), 10}}, "0s:10,1s:10,1s:1000,2s:1000,2s:10",
			[]count{{s(1), 10}, {s(1.5), 510}, {s(2), 1010}, {s(3), 1020}},
			[]due{{9, s(0.9)}, {10, s(1)}, {11, s(1.001)}, {1009, s(1.999)}, {1010, s(2)}, {1011, s(2.1)}},
		},
		{
			"nothing for a while", []replay.RampPoint{{s(5), 0}, {s(5), 100}}, "5s:0,5s:100",
			[]count{{s(5), 0}, {s(6), 100}},
			[]due{{0, s(5)}, {1, s(5.01)}},
		},
		{
			"a pause in the middle", []replay.RampPoint{{0, 100}, {s(10), 100}, {s(10), 0}, {s(20), 0}, {s(20), 100}}, "0s:100,10s:100,10s:0,20s:0,20s:100",
			[]count{{s(10), 1000}, {s(15), 1000}, {s(21), 1100}},
			[]due{{999, s(9.99)}, {1000, s(20)}, {1001, s(20.01)}},
		},
		{
			"down to a pause, and up again", []replay.RampPoint{{0, 100}, {s(10), 0}, {s(20), 0}, {s(30), 100}}, "0s:100,10s:0,20s:0,30s:100",
			[]count{{s(5), 375}, {s(10), 500}, {s(20), 500}, {s(25), 625}},
			[]due{{375, s(5)}, {500, s(20)}, {625, s(25)}, {1000, s(30)}},
		},
		{
			"down to the end", []replay.RampPoint{{0, 100}, {s(10), 0}}, "0s:100,10s:0",
			[]count{{s(10), 500}, {s(1000), 500}},
			[]due{{0, 0}, {375, s(5)}, {500, never}, {501, never}},
		},
		{
			"less than one request a second", []replay.RampPoint{{0, 0.5}}, "0s:0.5",
			[]count{{s(60), 30}},
			[]due{{0, 0}, {1, s(2)}, {30, s(60)}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ramp(t, tc.points...)
			if r.String() != tc.text {
				t.Errorf("written %s, want %s", r, tc.text)
			}
			for _, c := range tc.counts {
				if got := r.Count(c.at); math.Abs(got-c.want) > 1e-9*max(1, c.want) {
					t.Errorf("%v requests by %v, want %v", got, c.at, c.want)
				}
			}
			for _, d := range tc.dues {
				if got := r.At(0, d.n); got != d.want {
					t.Errorf("request %d is due at %v, want %v", d.n, got, d.want)
				}
			}
		})
	}
}

// Of any ramp, request n is due where the integral is n, none comes before one
// with a smaller number, and none while the rate is 0.
func TestRampIsTheInverseOfItsIntegral(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 2))
	for range 300 {
		var points []replay.RampPoint
		at := time.Duration(0)
		for range 1 + random.IntN(6) {
			p := replay.RampPoint{At: at}
			if random.IntN(3) > 0 {
				p.Rate = float64(random.IntN(2000)) / 7
			}
			points = append(points, p)
			at += time.Duration(random.IntN(4)) * 700 * time.Millisecond
		}
		r, err := replay.NewRamp(points...)
		if err != nil {
			continue // all rates are 0
		}
		before := time.Duration(0)
		for n := range 3000 {
			due := r.At(0, n)
			if due < before {
				t.Fatalf("%v: request %d is due at %v, before the last one at %v", r, n, due, before)
			}
			before = due
			if due == never {
				if total := r.Count(time.Hour); math.Ceil(total-1e-6) > float64(n) {
					t.Fatalf("%v: request %d of %v is never due", r, n, total)
				}
				break
			}
			// A nanosecond's worth of requests is the most that rounding may cost.
			if off := math.Abs(r.Count(due) - float64(n)); off > 1e-6 {
				t.Fatalf("%v: request %d is due at %v, when %v are", r, n, due, r.Count(due))
			}
		}
	}
}

func TestNewRampRefuses(t *testing.T) {
	for _, tc := range []struct {
		points []replay.RampPoint
		want   string
	}{
		{nil, "without points"},
		{[]replay.RampPoint{{s(1), 0}, {s(2), 0}}, "nothing would ever be sent"},
		{[]replay.RampPoint{{s(2), 1}, {s(1), 1}}, "in order"},
		{[]replay.RampPoint{{-s(1), 1}}, "in order"},
		{[]replay.RampPoint{{s(1), -1}}, "0 or more requests"},
		{[]replay.RampPoint{{s(1), math.NaN()}}, "0 or more requests"},
		{[]replay.RampPoint{{s(1), math.Inf(1)}}, "0 or more requests"},
	} {
		if _, err := replay.NewRamp(tc.points...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.points, err, tc.want)
		}
	}
}

func ExampleRamp() {
	// From nothing to 100 requests a second in ten seconds, and on to 1000 in the 50 after that.
	r, err := replay.NewRamp(replay.RampPoint{At: 10 * time.Second, Rate: 100}, replay.RampPoint{At: time.Minute, Rate: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range []int{0, 1, 500, 28_000, 28_001} {
		fmt.Printf("request %5d at %v\n", n, r.At(0, n).Round(time.Millisecond))
	}
	fmt.Println(r.Count(time.Minute), "in the first minute")
	// Output:
	// request     0 at 0s
	// request     1 at 447ms
	// request   500 at 10s
	// request 28000 at 1m0s
	// request 28001 at 1m0.001s
	// 28000 in the first minute
}
