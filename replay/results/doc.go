// Package results tells what came of a replay: a row for each exchange, the
// distribution of latencies, thresholds that a pipeline can gate on, and alerts.
//
// A [Result] is one exchange: what production answered, what staging answered,
// and how long each took. They come from a [Pairs], which joins the messages of
// one target by exchange, or from whoever has pairs already, as a comparison does:
//
//	rows, err := results.Create("results.ndjson", false)
//	…
//	gate, err := results.ParseThreshold("error_rate>1%")
//	…
//	run, err := results.New(results.Config{Rows: rows, Thresholds: []results.Threshold{gate}})
//	…
//	pairs := results.NewPairs(results.PairsConfig{Target: "http://staging", Add: run.Add})
//	…                            // write requests and answers to pairs
//	pairs.Close()
//	err = run.Close(ctx)
//	if s := run.Summary(); s.Failed() { … }
//
// docs/results.md has the schema of the rows.
//
// The package neither sends requests nor compares answers, and does not decide what
// the process does about a threshold that was crossed. Of the module it needs
// the root package only.
package results
