package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// The defaults of a Config.
const (
	DefaultMinExchanges = 100
	DefaultWindow       = time.Minute
	// alertLeast is how many exchanges a window must hold for shares and latencies
	// to say anything.
	alertLeast = 10
)

// A Config says what is made of results. A zero field is its default.
type Config struct {
	// Rows is where a line of JSON goes for each result; nil is nowhere. It is
	// closed in the end. See Create.
	Rows io.WriteCloser
	// FlushInterval is how long a row may wait in memory (1 s).
	FlushInterval time.Duration
	// Thresholds are looked at in the end, over the whole run, and by Alert all along.
	Thresholds []Threshold
	// MinExchanges is how many exchanges a threshold has to be made of to be kept (100).
	MinExchanges int64
	// Alert, if set, is told when a threshold is crossed over the last Window (1 min),
	// and when it is not any more.
	Alert  *Alert
	Window time.Duration
	// Name says in alerts who speaks: "kagami replay on host7".
	Name string
	// Compared, if set, says how many exchanges were compared so far, and how many of them
	// differ: the Summary has these in place of what the results say, for what is
	// known of a difference can change when more exchanges were seen.
	Compared func() (compared, different int64)
	// Failed, if set, is told that rows cannot be written (once), or that an alert
	// was not taken. It is called from any goroutine and must not block.
	Failed func(error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// A Run takes the results of one run: it writes them down, counts them and looks
// at the thresholds. Its methods may be called from any goroutine.
type Run struct {
	cfg    Config
	rows   *rowWriter // nil without Rows
	alarms *alarms    // nil without Alert
	start  time.Time

	mu     sync.Mutex
	total  *tally
	window *window // nil without Alert
}

// New returns a run. Its error says what is wrong with cfg; Rows is not closed then.
func New(cfg Config) (*Run, error) {
	if cfg.MinExchanges < 0 || cfg.Window < 0 || cfg.FlushInterval < 0 {
		return nil, errors.New("a number of exchanges, a window and a flush interval are more than 0")
	}
	if cfg.Alert != nil && len(cfg.Thresholds) == 0 {
		return nil, errors.New("an alert needs a threshold to watch, as in error_rate>1%")
	}
	if cfg.MinExchanges == 0 {
		cfg.MinExchanges = DefaultMinExchanges
	}
	if cfg.Window == 0 {
		cfg.Window = DefaultWindow
	}
	if cfg.FlushInterval == 0 {
		cfg.FlushInterval = DefaultFlushInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Run{cfg: cfg, total: newTally(totalDigits), start: cfg.Now()}
	if cfg.Rows != nil {
		r.rows = newRowWriter(cfg.Rows, cfg.FlushInterval, func(err error) { r.failed(fmt.Errorf("results cannot be written any more: %w", err)) })
	}
	if cfg.Alert != nil {
		r.window = newWindow(cfg.Window)
		r.alarms = newAlarms(cfg.Alert, len(cfg.Thresholds), cfg.Now, r.failed)
	}
	return r, nil
}

func (r *Run) failed(err error) {
	if r.cfg.Failed != nil {
		r.cfg.Failed(err)
	}
}

// Add takes one result. It waits only while 4 MiB of rows wait for the file.
func (r *Run) Add(res Result) {
	r.mu.Lock()
	r.total.add(&res)
	if r.window != nil {
		r.window.add(&res, r.cfg.Now())
	}
	r.mu.Unlock()
	if r.rows != nil {
		r.rows.add(&res)
	}
}

// Tick looks at the thresholds for Alert. It is to be called about once a
// second, and never waits for the webhook.
func (r *Run) Tick() {
	if r.alarms == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	t := r.window.tally(now)
	whole := now.Sub(r.start) >= r.cfg.Window
	for i, th := range r.cfg.Thresholds {
		v, n := th.metric.of(t)
		if n < alertLeast || n == always && !whole {
			// It cannot be told yet, or any more; so what was told stays, and is told
			// again if the webhook did not take it.
			r.alarms.again(i)
			continue
		}
		crossed := th.crossed(v)
		if crossed || r.alarms.is(i) {
			r.alarms.set(i, crossed, r.message(th, v, crossed, t))
		}
	}
}

func (r *Run) message(th Threshold, v float64, crossed bool, t *tally) string {
	state := "crossed"
	if !crossed {
		state = "over"
	}
	name := r.cfg.Name
	if name == "" {
		name = "kagami"
	}
	return fmt.Sprintf("%s: %s is %s: %s over the last %v (%d exchanges, %d errors)",
		name, th, state, th.metric.unit.text(v), r.cfg.Window, t.exchanges, t.errors)
}

// Summary is what came of the run so far.
func (r *Run) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := *r.total
	if r.cfg.Compared != nil {
		total.compared, total.different = r.cfg.Compared()
	}
	s := total.summary(r.cfg.Thresholds, r.cfg.MinExchanges)
	if r.alarms != nil {
		s.AlertsFailed = r.alarms.lost.Load()
	}
	return s
}

// Close writes what is left, and waits for the alerts under way until ctx ends.
// No result may come after it. Its error says that not all rows were written.
func (r *Run) Close(ctx context.Context) error {
	if r.alarms != nil {
		r.Tick()
		r.alarms.close(ctx)
	}
	if r.rows != nil {
		return r.rows.close()
	}
	return nil
}
