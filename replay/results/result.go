package results

import (
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"kagami"
)

// The bounds of a row: what is longer is cut, and of more differences than
// maxDifferences only the first are written.
const (
	maxText        = 2048 // path, endpoint, target, in bytes
	maxValue       = 256  // a differing value, in bytes
	maxDifferences = 20
)

// A Result is one exchange at one target: what production answered and what
// staging did. The zero value of a field means that it is not known, and then
// it is not in the row.
type Result struct {
	ID kagami.ID
	// Time is when the first byte of the request was seen at production.
	Time time.Time
	// Sent is when the copy was sent to staging.
	Sent   time.Time
	Method string
	// Path is the request target without its query.
	Path string
	// Endpoint is Path with the parts that differ from request to request taken out.
	Endpoint string
	// Target is the name of the staging target.
	Target string
	// Outcome is Delivered if staging's answer was received whole, whatever its
	// status, and else why it was not.
	Outcome kagami.Reason

	// A status of 0 means that there is no such answer, and then its latency and
	// its bytes mean nothing.
	ProductionStatus, StagingStatus int
	// ProductionLatency is from the first byte of the request to the last of the answer.
	ProductionLatency time.Duration
	// StagingLatency is from the instant the request was due to the last byte of the answer.
	StagingLatency time.Duration
	// Bytes are of the whole answer on the wire, head and body.
	ProductionBytes, StagingBytes int64

	// ScheduleLag is how much later than due the request was sent; less than 0 is earlier.
	// It is known if Scheduled is set.
	ScheduleLag time.Duration
	Scheduled   bool

	// Compared says that the answers were compared, Different what came of it.
	Compared, Different bool
	Differences         []Difference
	// DifferenceCount is how many differences there are, where Differences does
	// not hold all of them.
	DifferenceCount int
}

// A Difference is one place in which staging's answer differs from production's.
type Difference struct {
	// Part is "status", "header", "body" or "size".
	Part string `json:"part"`
	// Path says where in that part: a header's name, a JSON path.
	Path string `json:"path,omitempty"`
	// Production and Staging are the two values; one that is missing is empty.
	Production string `json:"production,omitempty"`
	Staging    string `json:"staging,omitempty"`
}

// sent reports whether an outcome says something about staging: the request
// was sent there, or could not be for reasons on that side.
func sent(r kagami.Reason) bool {
	switch r {
	case kagami.Delivered, kagami.SendError, kagami.Timeout, kagami.InDoubt, kagami.Unauthorized, kagami.NoStagingResponse:
		return true
	}
	return false
}

// outcomeName is how rows and summaries call an outcome.
func outcomeName(r kagami.Reason) string {
	if r == kagami.Delivered {
		return "ok"
	}
	return r.String()
}

// A row is a Result as it is written. Its fields are the schema of docs/results.md,
// in that order; a number that is not known is left out.
type row struct {
	ID                  string       `json:"id"`
	Time                string       `json:"time,omitempty"`
	SentTime            string       `json:"sent_time,omitempty"`
	Method              string       `json:"method,omitempty"`
	Path                string       `json:"path,omitempty"`
	Endpoint            string       `json:"endpoint,omitempty"`
	Target              string       `json:"target,omitempty"`
	Outcome             string       `json:"outcome"`
	ProductionStatus    *int         `json:"production_status,omitempty"`
	StagingStatus       *int         `json:"staging_status,omitempty"`
	ProductionLatencyMS *float64     `json:"production_latency_ms,omitempty"`
	StagingLatencyMS    *float64     `json:"staging_latency_ms,omitempty"`
	ScheduleLagMS       *float64     `json:"schedule_lag_ms,omitempty"`
	ProductionBytes     *int64       `json:"production_bytes,omitempty"`
	StagingBytes        *int64       `json:"staging_bytes,omitempty"`
	Different           *bool        `json:"different,omitempty"`
	DifferenceCount     *int         `json:"difference_count,omitempty"`
	Differences         []Difference `json:"differences,omitempty"`
}

// timeFormat is RFC 3339 in UTC to the microsecond, which is as much as BigQuery takes.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// An encoder writes results as lines of JSON. It keeps what it needs for that, so
// it is not for use from several goroutines at once.
type encoder struct {
	json                       *json.Encoder
	row                        row
	production, staging, lag   float64
	differences                [maxDifferences]Difference
	differenceCount            int
	productionStatus, status   int
	productionBytes, sentBytes int64
	different                  bool
}

func newEncoder(w io.Writer) *encoder {
	e := &encoder{json: json.NewEncoder(w)}
	e.json.SetEscapeHTML(false)
	return e
}

// encode writes r and a line end.
func (e *encoder) encode(r *Result) error {
	e.row = row{
		ID:       r.ID.String(),
		Time:     timeText(r.Time),
		SentTime: timeText(r.Sent),
		Method:   cut(r.Method, maxText),
		Path:     cut(r.Path, maxText),
		Endpoint: cut(r.Endpoint, maxText),
		Target:   cut(r.Target, maxText),
		Outcome:  outcomeName(r.Outcome),
	}
	if e.productionStatus = r.ProductionStatus; r.ProductionStatus != 0 {
		e.production, e.productionBytes = millis(r.ProductionLatency), r.ProductionBytes
		e.row.ProductionStatus, e.row.ProductionLatencyMS, e.row.ProductionBytes = &e.productionStatus, &e.production, &e.productionBytes
	}
	if e.status = r.StagingStatus; r.StagingStatus != 0 {
		e.staging, e.sentBytes = millis(r.StagingLatency), r.StagingBytes
		e.row.StagingStatus, e.row.StagingLatencyMS, e.row.StagingBytes = &e.status, &e.staging, &e.sentBytes
	}
	if r.Scheduled {
		e.lag = millis(r.ScheduleLag)
		e.row.ScheduleLagMS = &e.lag
	}
	if r.Compared {
		e.setDifferences(r)
	}
	return e.json.Encode(&e.row)
}

func (e *encoder) setDifferences(r *Result) {
	e.different, e.differenceCount = r.Different, max(r.DifferenceCount, len(r.Differences))
	e.row.Different, e.row.DifferenceCount = &e.different, &e.differenceCount
	n := copy(e.differences[:], r.Differences)
	for i := range n {
		d := &e.differences[i]
		d.Part, d.Path = cut(d.Part, maxValue), cut(d.Path, maxValue)
		d.Production, d.Staging = cut(d.Production, maxValue), cut(d.Staging, maxValue)
	}
	e.row.Differences = e.differences[:n]
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// millis is d in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cut returns the first n bytes of s at most, and no part of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
