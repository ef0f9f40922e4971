package output

import "kagami"

// An HTTPFailure says why a request got no whole answer: what is behind a
// [kagami.SendError] or a [kagami.Timeout].
type HTTPFailure int

// The failures.
const (
	HTTPNoConnection HTTPFailure = iota // the target could not be reached
	HTTPClosed                          // the connection was closed or reset before any byte of the answer
	HTTPCutShort                        // it was closed or reset within the answer
	HTTPGarbage                         // what came is no HTTP: its head, its chunks or its lengths
	HTTPTimeout                         // not whole within Timeout
	NumHTTPFailures
)

var httpFailureNames = [NumHTTPFailures]string{"no-connection", "closed", "cut-short", "not-http", "timeout"}

// String returns the failure's name, as metrics have it.
func (f HTTPFailure) String() string { return httpFailureNames[f] }

// failureOf is the failure that an error on a connection is. got says that there was a byte of
// the answer.
func failureOf(err error, got bool) HTTPFailure {
	switch {
	case err == errGarbage:
		return HTTPGarbage
	case got:
		return HTTPCutShort
	}
	return HTTPClosed
}

// failed counts a request that is settled for r, if that means that it failed.
func (c *httpCounters) failed(j *httpJob, r kagami.Reason) {
	switch r {
	case kagami.Timeout:
		c.failures[HTTPTimeout].Add(1)
	case kagami.SendError:
		c.failures[j.failure].Add(1)
	}
}
