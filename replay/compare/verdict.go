package compare

import (
	"time"

	"kagami"
)

// An Outcome is what comparing an exchange came to.
type Outcome string

// The outcomes.
const (
	Same        Outcome = "same"
	Different   Outcome = "different"
	NotCompared Outcome = "not-compared" // the Reason says why
)

// A Kind is a kind of difference.
type Kind string

// The kinds. Those of JSON have a path to the value.
const (
	Status        Kind = "status"         // Path is both, as in "200 → 503"
	Header        Kind = "header"         // Path is the name
	HeaderMissing Kind = "header-missing" // staging's answer does not have it
	HeaderAdded   Kind = "header-added"   // production's answer does not have it
	Body          Kind = "body"           // bytes that are not both JSON
	Value         Kind = "value"          // of the same JSON type
	Type          Kind = "type"           // of another JSON type
	Missing       Kind = "missing"        // a member or element that staging does not have
	Added         Kind = "added"          // a member or element that production does not have
	Order         Kind = "order"          // the same elements in another order
)

// A Difference is where two answers differ. Elements of an array that differ in
// the same way are one.
type Difference struct {
	Kind Kind `json:"kind"`
	// Path is where, with ids and indexes made the same: "$.items[*].price".
	Path string `json:"path"`
	// At is the first place, as "$.items[3].price". Of an added element it is
	// staging's index, else production's.
	At string `json:"at"`
	// Offset is the first byte that differs, of a Body.
	Offset int `json:"offset,omitempty"`
	// Production and Staging are what is there, cut after a hundred bytes; JSON
	// as it was written. Empty where there is nothing.
	Production string `json:"production"`
	Staging    string `json:"staging"`
	// Count is how often it differs so in the one answer.
	Count int `json:"count"`
}

// A Verdict is what is known of one exchange once it is finished.
type Verdict struct {
	ID kagami.ID
	// Endpoint is the request's method and path, what looks like an id replaced
	// by {id}: "GET /users/{id}". "GET ?" is one whose target is not known.
	Endpoint string
	Outcome  Outcome
	// Reason says why it was not compared: "no-production-response",
	// "no-staging-response", "memory-limit", "drain-timeout", or a side
	// ("production-", "staging-") and what its answer is: "not-http",
	// "truncated", "incomplete", "too-large", "content-coding". It is set beside
	// Different where the bodies alone could not be compared.
	Reason string
	// Production, Staging and Baseline are the answers; the zero Answer is one
	// that did not come.
	Production, Staging, Baseline Answer
	// Differences is where staging's answer differs from production's, noise
	// left out, status first, then headers, then the body. At most a hundred.
	Differences []Difference
	// Cut says that there are more.
	Cut bool
	// Noise is how many differences were left out because the baseline has shown
	// that they mean nothing.
	Noise int
}

// An Answer is what was measured of one answer.
type Answer struct {
	Status int // 0: none, or it could not be read
	Bytes  int // on the wire, head and all
	Body   int // of the body as it was sent, without the transfer coding
	Start  time.Time
	// Latency is from the request's start to the answer's last byte. 0 is not
	// known: production's, where the request was not written to the Compare.
	Latency time.Duration
}
