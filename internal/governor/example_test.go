package governor_test

import (
	"fmt"
	"time"

	"kagami/internal/governor"
)

// A listener may use a tenth of a core, and would need half of one.
func ExampleGovernor() {
	g, err := governor.New(governor.Config{Limit: 0.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	var now, cpu time.Duration
	for range 20 {
		now += 250 * time.Millisecond
		cpu += time.Duration(0.5 * g.Share().Percent() / 100 * float64(250*time.Millisecond))
		if share, changed := g.Observe(governor.Reading{Time: now, CPU: cpu}); changed {
			fmt.Printf("after %v: %.0f%%\n", now, share.Percent())
		}
	}
	// Output:
	// after 750ms: 17%
}
