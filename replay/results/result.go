package results

import (
	"time"
	"unicode/utf8"

	"kagami"
)

// The bounds of a row: what is longer is cut, and of more differences than
// maxDifferences only the first are written.
const (
	maxText        = 2048 // path, endpoint, target, in bytes
	maxValue       = 256  // a differing value or where it is, in bytes
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
	// Part is "status", "header" or "body".
	Part string `json:"part"`
	// Kind is how it differs there, as the report of comparing has it: "type", "header-missing".
	Kind string `json:"kind,omitempty"`
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

// A row is a Result as it is written, and says what the schema of docs/results.md is. A
// number that is not known is left out. The rows themselves are made by appendRow,
// which a test holds to this.
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
