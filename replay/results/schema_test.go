package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"kagami"
)

func readSchema(t testing.TB) []column {
	t.Helper()
	b, err := os.ReadFile("../../docs/results.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var all []column
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// The names and kinds of BigQuery's columns, as its documentation has them (Schemas: "Column names",
// "Modes").
var (
	columnName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,299}$`)
	reservedName = regexp.MustCompile(`(?i)^(_TABLE_|_FILE_|_PARTITION|_ROW_TIMESTAMP|__ROOT__|_COLIDENTIFIER)`)
	timestamp    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z$`)
)

func TestSchemaIsBigQuerys(t *testing.T) {
	checkColumns(t, readSchema(t))
}

func checkColumns(t *testing.T, all []column) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range all {
		if lower := strings.ToLower(c.Name); seen[lower] {
			t.Errorf("two columns are named %s", c.Name)
		} else {
			seen[lower] = true
		}
		if !columnName.MatchString(c.Name) || reservedName.MatchString(c.Name) {
			t.Errorf("no column can be named %q", c.Name)
		}
		switch c.Type {
		case "STRING", "TIMESTAMP", "INTEGER", "FLOAT", "BOOLEAN":
			if c.Mode != "NULLABLE" && c.Mode != "REQUIRED" || c.Fields != nil {
				t.Errorf("%s is %s %s", c.Name, c.Mode, c.Type)
			}
		case "RECORD":
			if c.Mode != "REPEATED" || len(c.Fields) == 0 {
				t.Errorf("%s is %s %s", c.Name, c.Mode, c.Type)
			}
			checkColumns(t, c.Fields)
		default:
			t.Errorf("%s is of type %q", c.Name, c.Type)
		}
		if len(c.Description) > 1024 {
			t.Errorf("%s has a description of %d characters", c.Name, len(c.Description))
		}
	}
}

// loads reports whether a line loads into a table of those columns, as BigQuery loads
// newline-delimited JSON without being told to ignore anything.
func loads(line []byte, table []column) error {
	if !utf8.Valid(line) || bytes.IndexByte(line, '\n') != len(line)-1 {
		return fmt.Errorf("not one line of UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var row map[string]any
	if err := d.Decode(&row); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something stands behind the object")
	}
	return fits(row, table)
}

func fits(row map[string]any, table []column) error {
	left := maps.Clone(row)
	for _, c := range table {
		v, ok := row[c.Name]
		delete(left, c.Name)
		if !ok && c.Mode == "REQUIRED" {
			return fmt.Errorf("%s is missing", c.Name)
		}
		if ok && !fitsIn(v, c) {
			return fmt.Errorf("%s is %T %.60v, want %s", c.Name, v, v, c.Type)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("no column for %v", left)
	}
	return nil
}

func fitsIn(v any, c column) bool {
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	switch c.Type {
	case "STRING":
		return isText
	case "TIMESTAMP":
		_, err := time.Parse(time.RFC3339Nano, text)
		return isText && err == nil && timestamp.MatchString(text)
	case "INTEGER":
		_, err := strconv.ParseInt(number.String(), 10, 64)
		return isNumber && err == nil
	case "FLOAT":
		f, err := number.Float64()
		return isNumber && err == nil && !math.IsInf(f, 0)
	case "BOOLEAN":
		_, ok := v.(bool)
		return ok
	}
	list, ok := v.([]any)
	for _, item := range list {
		fields, isObject := item.(map[string]any)
		if ok = ok && isObject; ok {
			ok = fits(fields, c.Fields) == nil
		}
	}
	return ok
}

// Whatever a result is, its row loads into the table.
func TestRowsLoadIntoTheTable(t *testing.T) {
	table := readSchema(t)
	random := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "GET", "/a?b", "/\xff\xfe", "\u2028\x00\"\\\n", strings.Repeat("é", 5000), "日本語", "</script>"}
	text := func() string { return texts[random.IntN(len(texts))] }
	moment := func() time.Time {
		if random.IntN(5) == 0 {
			return time.Time{}
		}
		return time.Unix(random.Int64N(4e9), random.Int64N(1e9)).In(time.FixedZone("", 3600*random.IntN(12)))
	}
	duration := func() time.Duration {
		return []time.Duration{0, 1, -5, time.Hour, math.MaxInt64, math.MinInt64, time.Duration(random.Int64N(1e12))}[random.IntN(7)]
	}
	id, err := kagami.IDFromBytes([]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	reasons := append(kagami.Reasons(), kagami.Delivered)
	seen := map[string]bool{}
	for range 20_000 {
		r := Result{
			ID: id, Time: moment(), Sent: moment(), Method: text(), Path: text(), Endpoint: text(), Target: text(),
			Outcome:          reasons[random.IntN(len(reasons))],
			ProductionStatus: 200 * random.IntN(2), StagingStatus: 503 * random.IntN(2),
			ProductionLatency: duration(), StagingLatency: duration(), ScheduleLag: duration(), Scheduled: random.IntN(2) == 0,
			ProductionBytes: random.Int64(), StagingBytes: random.Int64N(3),
			Compared: random.IntN(2) == 0, Different: random.IntN(2) == 0, DifferenceCount: random.IntN(100),
		}
		for range random.IntN(30) {
			r.Differences = append(r.Differences, Difference{Part: text(), Kind: text(), Path: text(), Production: text(), Staging: text()})
		}
		line := appendRow(nil, &r)
		if err := loads(line, table); err != nil {
			t.Fatalf("%v: %.300s", err, line)
		}
		var row map[string]any
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		for name := range row {
			seen[name] = true
		}
	}
	for _, c := range table {
		if !seen[c.Name] {
			t.Errorf("no row has %s", c.Name)
		}
	}
	// And what does not load is told apart.
	const good = `{"id":"01","time":"2023-11-14T22:13:20.000001Z","outcome":"ok","staging_status":200,"staging_latency_ms":1.5,"different":true,"differences":[{"part":"body"}]}` + "\n"
	if err := loads([]byte(good), table); err != nil {
		t.Fatal(err)
	}
	for old, bad := range map[string]string{
		`"id":"01"`: `"id":1`, `"id":"01",`: ``, `"outcome":"ok",`: `"outcome":"ok","more":1,`, `00001Z`: `0000001Z`, `20.000001Z`: `20.000001`,
		`:200`: `:200.5`, `200,`: `null,`, `1.5`: `"1.5"`, `1.5,`: `1e999,`, `true`: `"true"`, `"part":"body"`: `"part":2`, `[{"part":"body"}]`: `{"part":"body"}`,
		`{"part":"body"}`: `{}`, "}\n": "}\n{}\n",
	} {
		if line := strings.Replace(good, old, bad, 1); line == good || loads([]byte(line), table) == nil {
			t.Errorf("%s in place of %s loads", bad, old)
		}
	}
}
