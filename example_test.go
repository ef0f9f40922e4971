package kagami_test

import (
	"fmt"
	"net/netip"
	"os"

	"kagami"
)

// Three requests come from a capture. One is not in the sample, one finds the
// queue full, and the ledger knows about all three.
func Example() {
	capture := &kagami.Stage{Name: "capture", Unit: kagami.Messages}
	output := &kagami.Stage{Name: "output", Of: "http://staging", Unit: kagami.Messages}
	ledger := &kagami.Ledger{Role: "kagami"}
	ledger.Add(capture)
	ledger.Add(output)
	ledger.Copy([]*kagami.Stage{capture}, output)

	// What was captured, and what is told how it ended.
	batch := kagami.Batch{Settle: func(_ int, r kagami.Reason) { output.Settle(r) }}
	server := netip.MustParseAddrPort("10.0.0.2:80")
	for i, path := range []string{"/a", "/b", "/c"} {
		client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(40_000+i))
		batch.Messages = append(batch.Messages, &kagami.Message{
			Kind:     kagami.Request,
			Proto:    kagami.HTTP1,
			Client:   client,
			Server:   server,
			Raw:      []byte("GET " + path + " HTTP/1.1\r\nHost: example.com\r\n\r\n"),
			Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, 5000, 0, 1_700_000_000), Method: "GET"},
		})
	}
	capture.In(len(batch.Messages))
	capture.Out(len(batch.Messages))
	output.In(len(batch.Messages))

	// A share of the connections goes on.
	share, err := kagami.ParseShare("50%")
	if err != nil {
		fmt.Println(err)
		return
	}
	salt := kagami.NewSalt(3, 0, kagami.OutputSide)
	batch = batch.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		if !share.Includes(salt.Connection(m.Client)) {
			return nil, kagami.SampledOut
		}
		return m, kagami.Delivered
	})

	// The queue has room for one.
	batch.Slice(0, 1).DoneAll(kagami.Delivered)
	batch.Slice(1, len(batch.Messages)).DoneAll(kagami.QueueFull)

	if err := ledger.Statement().WriteText(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ledger of kagami: balanced
	//   capture (messages)                                    3 in          3 out
	//   output http://staging (messages)                      3 in          1 out  sampled-out 1  queue-full 1
}

// The smaller share is a part of the larger one.
func ExampleShare() {
	ten, err := kagami.ParseShare("10%")
	if err != nil {
		fmt.Println(err)
		return
	}
	half, err := kagami.ParseShare("50%")
	if err != nil {
		fmt.Println(err)
		return
	}
	salt := kagami.NewSalt(0, 0, kagami.OutputSide)
	var inTen, inHalf, inBoth int
	for port := range uint16(10_000) {
		h := salt.Connection(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port))
		if ten.Includes(h) {
			inTen++
		}
		if half.Includes(h) {
			inHalf++
		}
		if ten.Includes(h) && half.Includes(h) {
			inBoth++
		}
	}
	fmt.Println(inTen, inHalf, inBoth)
	// Output: 1006 5065 1006
}
