package kagami_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"kagami"
)

func TestReasonsRoundTrip(t *testing.T) {
	all := append([]kagami.Reason{kagami.Delivered}, kagami.Reasons()...)
	form := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	for i, r := range all {
		name := r.String()
		if int(r) != i {
			t.Errorf("%v is the %dth of Reasons", r, i)
		}
		if !form.MatchString(name) {
			t.Errorf("reason %d is named %q", r, name)
		}
		if seen[name] {
			t.Errorf("two reasons are named %q", name)
		}
		seen[name] = true
		if got, err := kagami.ParseReason(name); err != nil || got != r {
			t.Errorf("ParseReason(%q) = %v, %v", name, got, err)
		}
	}
	if kagami.Delivered != 0 {
		t.Error("the zero value is not Delivered")
	}
}

// The names that summaries, metrics and their alerts rely on.
func TestReasonNamesAreFixed(t *testing.T) {
	tests := map[kagami.Reason]string{
		kagami.Delivered:            "delivered",
		kagami.KernelDrop:           "kernel-drop",
		kagami.InterfaceDrop:        "interface-drop",
		kagami.NotTCP:               "not-tcp",
		kagami.DuplicateCopy:        "duplicate-copy",
		kagami.OtherPort:            "other-port",
		kagami.OtherDirection:       "other-direction",
		kagami.SequenceGap:          "sequence-gap",
		kagami.Unfinished:           "incomplete",
		kagami.NotHTTP:              "not-http",
		kagami.TLS:                  "tls",
		kagami.Undecodable:          "undecodable",
		kagami.Upgraded:             "upgraded",
		kagami.TooLarge:             "too-large",
		kagami.MemoryLimit:          "memory-limit",
		kagami.OwnTraffic:           "own-traffic",
		kagami.Filtered:             "filtered",
		kagami.SampledOut:           "sampled-out",
		kagami.RateLimited:          "rate-limited",
		kagami.CPULimit:             "cpu-limit",
		kagami.NoWebSocket:          "no-websocket",
		kagami.QueueFull:            "queue-full",
		kagami.RequestDropped:       "request-dropped",
		kagami.OrphanResponse:       "orphan-response",
		kagami.AmbiguousFraming:     "ambiguous",
		kagami.NotReplayable:        "not-replayable",
		kagami.SendError:            "send-error",
		kagami.Timeout:              "timeout",
		kagami.Unauthorized:         "unauthorized",
		kagami.InDoubt:              "in-doubt",
		kagami.DrainTimeout:         "drain-timeout",
		kagami.Damaged:              "damaged",
		kagami.UnknownKind:          "unknown-kind",
		kagami.DryRun:               "dry-run",
		kagami.OutsideWindow:        "outside-window",
		kagami.DiskFull:             "disk-full",
		kagami.SizeLimit:            "size-limit",
		kagami.SpoolFull:            "spool-full",
		kagami.SpoolError:           "spool-error",
		kagami.Expired:              "expired",
		kagami.FailedOver:           "failed-over",
		kagami.BrokerLimit:          "broker-limit",
		kagami.NoProductionResponse: "no-production-response",
		kagami.NoStagingResponse:    "no-staging-response",
	}
	for r, want := range tests {
		if r.String() != want {
			t.Errorf("%q, want %q", r, want)
		}
	}
	if n := len(kagami.Reasons()) + 1; n != len(tests) {
		t.Errorf("%d reasons, %d names are pinned here", n, len(tests))
	}
}

func TestReasonErrors(t *testing.T) {
	for _, s := range []string{"", "Delivered", "queue full", "reason(99)"} {
		r, err := kagami.ParseReason(s)
		if err == nil {
			t.Errorf("%q reads as %v", s, r)
		} else if !strings.Contains(err.Error(), "queue-full") {
			t.Errorf("%q does not say what there is", err)
		}
	}
	if got := kagami.Reason(200).String(); got != "reason(200)" {
		t.Errorf("an unknown reason is named %q", got)
	}
	r := kagami.QueueFull
	if err := r.UnmarshalText([]byte("nonsense")); err == nil || r != kagami.QueueFull {
		t.Errorf("nonsense read as %v, %v", r, err)
	}
}

func TestReasonAsJSONKey(t *testing.T) {
	in := map[kagami.Reason]int{kagami.QueueFull: 2, kagami.Filtered: 1}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"filtered":1,"queue-full":2}` {
		t.Fatalf("%s, %v", text, err)
	}
	var out map[kagami.Reason]int
	if err := json.Unmarshal(text, &out); err != nil || out[kagami.QueueFull] != 2 || out[kagami.Filtered] != 1 {
		t.Errorf("%v, %v", out, err)
	}
}
