package results_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"kagami"
	"kagami/replay/results"
)

// keepOpen is a file that is not to be closed.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// An exchange that staging answered more slowly, and not as production did.
func Example() {
	gate, err := results.ParseThreshold("status_5xx_rate > 1%")
	if err != nil {
		fmt.Println(err)
		return
	}
	run, err := results.New(results.Config{
		Rows:         keepOpen{os.Stdout},
		Thresholds:   []results.Threshold{gate},
		MinExchanges: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := func(ms int) time.Time { return time.Date(2030, 1, 1, 12, 0, 0, ms*1e6, time.UTC) }
	pairs := results.NewPairs(results.PairsConfig{Target: "http://staging", Add: run.Add, Now: func() time.Time { return at(0) }})

	id, _ := kagami.ParseID("c0ffee")
	e := &kagami.Exchange{ID: id}
	err = pairs.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{
		{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at(0), End: at(0), Raw: []byte("GET /users/42?page=1 HTTP/1.1\r\n\r\n"), Exchange: e},
		{Kind: kagami.Response, Proto: kagami.HTTP1, Start: at(2), End: at(3), Raw: []byte("HTTP/1.1 204 No Content\r\n\r\n"), Exchange: e},
		{Kind: kagami.Replayed, Proto: kagami.HTTP1, Start: at(20), End: at(28), Raw: []byte("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), Exchange: e},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = pairs.Close()
	if err := run.Close(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for _, failure := range run.Summary().Failures() {
		fmt.Println(failure)
	}

	// Output:
	// {"id":"c0ffee","time":"2030-01-01T12:00:00.000000Z","sent_time":"2030-01-01T12:00:00.020000Z","method":"GET","path":"/users/42","target":"http://staging","outcome":"ok","production_status":204,"staging_status":503,"production_latency_ms":3,"staging_latency_ms":8,"production_bytes":27,"staging_bytes":40}
	// status_5xx_rate>1%: 100%: crossed
}
