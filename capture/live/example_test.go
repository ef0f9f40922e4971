package live_test

import (
	"fmt"

	"kagami/capture"
	"kagami/capture/live"
)

// Requests to port 8080 are captured on every interface. It takes root, or
// CAP_NET_RAW.
func Example() {
	source, err := live.Open(live.Config{
		Interface: live.Any,
		Filter:    capture.FilterExpression(capture.FilterConfig{Ports: []uint16{8080}}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	for {
		p, err := source.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.Time, p.Ifindex, p.WireLen)
	}
}

// What is wrong with a configuration is said before anything is opened.
func ExampleOpen_error() {
	_, err := live.Open(live.Config{Interface: "eth0", Snaplen: 1 << 20})
	fmt.Println(err)
	// Output: snaplen of 1048576: want 1 to 262144
}
