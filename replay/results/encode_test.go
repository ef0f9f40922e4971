package results

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"kagami"
)

// rowOf is what a row of r has, made in the plain way.
func rowOf(r *Result) row {
	text := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	w := row{
		ID: r.ID.String(), Time: text(r.Time), SentTime: text(r.Sent), Method: cut(r.Method, maxText), Path: cut(r.Path, maxText),
		Endpoint: cut(r.Endpoint, maxText), Target: cut(r.Target, maxText), Outcome: outcomeName(r.Outcome),
	}
	if r.ProductionStatus != 0 {
		w.ProductionStatus, w.ProductionLatencyMS, w.ProductionBytes = &r.ProductionStatus, new(millis(r.ProductionLatency)), &r.ProductionBytes
	}
	if r.StagingStatus != 0 {
		w.StagingStatus, w.StagingLatencyMS, w.StagingBytes = &r.StagingStatus, new(millis(r.StagingLatency)), &r.StagingBytes
	}
	if r.Scheduled {
		w.ScheduleLagMS = new(millis(r.ScheduleLag))
	}
	if r.Compared {
		w.Different, w.DifferenceCount = &r.Different, new(max(len(r.Differences), r.DifferenceCount))
		for _, d := range r.Differences[:min(len(r.Differences), maxDifferences)] {
			w.Differences = append(w.Differences, Difference{cut(d.Part, maxValue), cut(d.Kind, maxValue), cut(d.Path, maxValue), cut(d.Production, maxValue), cut(d.Staging, maxValue)})
		}
	}
	return w
}

// Rows say what encoding/json says with the fields of the schema, whatever stands in
// them, and are one line each.
func FuzzAppendRow(f *testing.F) {
	f.Add("GET", "/a\u2028\xff<>&", "\"\\", int64(1234567), int64(-400_000), 200, 0, uint8(0), true)
	f.Add("", "\x00\x1f\x7f\t\r\n\b\f", "é", int64(0), int64(1), 0, 503, uint8(29), false)
	f.Fuzz(func(t *testing.T, method, path, value string, a, b int64, production, staging int, outcome uint8, compared bool) {
		id, _ := kagami.IDFromBytes([]byte{1, 2, 3})
		r := Result{
			ID: id, Time: time.Unix(0, a), Sent: time.Unix(0, b), Method: method, Path: path, Endpoint: path, Target: value,
			Outcome: kagami.Reason(outcome), ProductionStatus: production, StagingStatus: staging,
			ProductionLatency: time.Duration(a), StagingLatency: time.Duration(b), ProductionBytes: a, StagingBytes: b,
			ScheduleLag: time.Duration(b), Scheduled: a%2 == 0, Compared: compared, Different: b%2 == 0,
			Differences: []Difference{{Part: "body", Kind: method, Path: path, Production: value, Staging: method}, {Part: value}}[:a&1+b&1],
		}
		got := appendRow(nil, &r)
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(rowOf(&r)); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(got, []byte("\n")) != 1 || got[len(got)-1] != '\n' {
			t.Errorf("not one line: %q", got)
		}
		if again, plain := reformat(t, got), reformat(t, want.Bytes()); again != plain {
			t.Errorf("%s, want %s", again, plain)
		}
	})
}

// reformat reads JSON as a row and writes it again, so that only what it says counts;
// a field that is none of the schema's is an error.
func reformat(t *testing.T, b []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var w row
	if err := d.Decode(&w); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	again, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return string(again)
}
