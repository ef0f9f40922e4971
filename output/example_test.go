package output_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"

	"kagami"
	"kagami/output"
)

// Requests go through a queue and a limit to a server. Each of them is settled
// once, and the ledger's stage counts how.
func Example() {
	staging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL, "as", r.Header.Get("Kagami-Replay"))
	}))
	defer staging.Close()

	const index = 0 // of this output among all
	to, err := output.NewHTTP(output.HTTPConfig{URL: staging.URL, Index: index, Connections: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	limit := output.NewLimit(to, output.LimitConfig{Index: index, Rate: 2})
	queue := output.NewQueue(limit, output.QueueConfig{Index: index})

	stage := kagami.Stage{Name: "output", Unit: kagami.Messages, InFlight: queue.InFlight}
	client, server := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.2:80")
	var b kagami.Batch
	for i := range 3 {
		b.Messages = append(b.Messages, &kagami.Message{
			Kind:     kagami.Request,
			Proto:    kagami.HTTP1,
			Client:   client,
			Server:   server,
			Raw:      fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: www.example.com\r\n\r\n", i),
			Exchange: &kagami.Exchange{ID: kagami.MakeID(client, server, 1, uint32(i), 1_700_000_000), Method: "GET"},
		})
	}
	b.Settle = func(_ int, r kagami.Reason) { stage.Settle(r) }
	stage.In(len(b.Messages))
	if err := queue.Write(context.Background(), b); err != nil {
		fmt.Println(err)
	}
	if err := queue.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	s := stage.Statement()
	fmt.Println(s.In, "in,", s.Out, "out,", s.Dropped[kagami.RateLimited], "over the limit,", s.Missing(), "missing")
	// Output:
	// GET /0 as 9c400050c000020100000001000000006553f100
	// GET /1 as 9c400050c000020100000001000000016553f100
	// 3 in, 2 out, 1 over the limit, 0 missing
}

// What is sent for a request can be looked at without sending it.
func ExampleHTTP_AppendRequest() {
	to, err := output.NewHTTP(output.HTTPConfig{URL: "http://staging:8080/v2", NoReplayHeader: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer to.Close()
	raw, reason := to.AppendRequest(nil, &kagami.Message{
		Kind:     kagami.Request,
		Proto:    kagami.HTTP1,
		Raw:      []byte("GET /cart HTTP/1.1\r\nhost: www.example.com\r\nConnection: close\r\n\r\n"),
		Exchange: &kagami.Exchange{},
	})
	fmt.Printf("%v: %q\n", reason, raw)
	// Output:
	// delivered: "GET /v2/cart HTTP/1.1\r\nhost: staging:8080\r\n\r\n"
}

// An Output is two methods.
type counter struct {
	sync.Mutex
	byHost map[string]int
}

func (c *counter) Write(_ context.Context, b kagami.Batch) error {
	c.Lock()
	defer c.Unlock()
	for i, m := range b.Messages {
		c.byHost[m.Client.Addr().String()]++
		b.Done(i, kagami.Delivered)
	}
	return nil
}

func (c *counter) Close() error { return nil }

func ExampleOutput() {
	c := &counter{byHost: map[string]int{}}
	queue := output.NewQueue(c, output.QueueConfig{OnFull: output.WaitWhenFull})
	m := &kagami.Message{Kind: kagami.Request, Client: netip.MustParseAddrPort("192.0.2.1:40000"), Exchange: &kagami.Exchange{}}
	if err := queue.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{m, m}}); err != nil {
		fmt.Println(err)
	}
	if err := queue.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.byHost)
	// Output: map[192.0.2.1:2]
}
