package main

import (
	"math"
	"testing"
	"time"

	"kagami"
)

func TestSize(t *testing.T) {
	for _, test := range []struct {
		in   string
		want int64
		text string
		err  string
	}{
		{in: "0", want: 0, text: "0"},
		{in: "4096", want: 4096, text: "4kb"},
		{in: "4097", want: 4097, text: "4097"},
		{in: "32kb", want: 32 << 10, text: "32kb"},
		{in: "32k", want: 32 << 10, text: "32kb"},
		{in: "32MB", want: 32 << 20, text: "32mb"},
		{in: "32m", want: 32 << 20, text: "32mb"},
		{in: "1gb", want: 1 << 30, text: "1gb"},
		{in: "1TB", want: 1 << 40, text: "1tb"},
		{in: "10b", want: 10, text: "10"},
		{in: "9223372036854775807", want: math.MaxInt64, text: "9223372036854775807"},
		{in: "", err: "number of bytes"},
		{in: "mb", err: "number of bytes"},
		{in: "-1", err: "number of bytes"},
		{in: "1.5mb", err: "number of bytes"},
		{in: "9999999tb", err: "number of bytes"},
		{in: "9223372036854775808", err: "number of bytes"},
		{in: "1 mb", err: "number of bytes"},
	} {
		var n int64
		v := sizeValue{&n, 0}
		if wrongError(t, v.Set(test.in), test.err) || test.err != "" {
			continue
		}
		if n != test.want || v.String() != test.text {
			t.Errorf("%q: got %d, written %q: want %d, %q", test.in, n, v, test.want, test.text)
		}
	}
	var n int64
	wrongError(t, sizeValue{&n, 1 << 20}.Set("1kb"), "want 1mb or more")
}

func TestDuration(t *testing.T) {
	for _, test := range []struct{ in, text, err string }{
		{in: "2s", text: "2s"},
		{in: "90s", text: "1m30s"},
		{in: "60s", text: "1m"},
		{in: "3600s", text: "1h"},
		{in: "20ms", text: "20ms"},
		{in: "0", text: "0s"},
		{in: "5", err: "with its unit"},
		{in: "-1s", err: "want 0s or more"},
		{in: "soon", err: "with its unit"},
	} {
		var d time.Duration
		v := durationValue{&d, 0}
		if !wrongError(t, v.Set(test.in), test.err) && test.err == "" && v.String() != test.text {
			t.Errorf("%q: written %q, want %q", test.in, v, test.text)
		}
	}
}

func TestWordsAndNumbers(t *testing.T) {
	var (
		b     bool
		n     int
		seed  uint64
		by    string
		full  OnFull
		every time.Duration
		raw   RawConfig
		kinds []kagami.Kind
		vlans []uint16
		admin string
	)
	for _, test := range []struct {
		v       value
		in, err string
	}{
		{v: boolValue{&b}, in: "true"},
		{v: boolValue{&b}, in: "yes", err: "want true or false"},
		{v: intValue{&n, 1}, in: "3"},
		{v: intValue{&n, 1}, in: "0", err: "1 or more"},
		{v: intValue{&n, 1}, in: "3.5", err: "a whole number"},
		{v: connectionsValue{&n}, in: "7"},
		{v: connectionsValue{&n}, in: "-7", err: "0 or more"},
		{v: seedValue{&seed}, in: "18446744073709551615"},
		{v: seedValue{&seed}, in: "-1", err: "0 or more"},
		{v: sampleByValue{&by}, in: "connection"},
		{v: sampleByValue{&by}, in: "header:X-User"},
		{v: sampleByValue{&by}, in: "header:", err: "header:NAME"},
		{v: sampleByValue{&by}, in: "client:x", err: "want request"},
		{v: sampleByValue{&by}, in: "user", err: "want request"},
		{v: enumValue[OnFull]{&full, []OnFull{OnFullDrop, OnFullWait}}, in: "wait"},
		{v: enumValue[OnFull]{&full, []OnFull{OnFullDrop, OnFullWait}}, in: "block", err: "want drop or wait"},
		{v: millisValue{&every}, in: "500"},
		{v: millisValue{&every}, in: "0", err: "1 or more"},
		{v: secondsValue{&every}, in: "7"},
		{v: secondsValue{&every}, in: "7s", err: "whole number of seconds"},
		{v: engineValue{&raw.Engine}, in: "libpcap"},
		{v: engineValue{&raw.Engine}, in: "af_packet"},
		{v: engineValue{&raw.Engine}, in: "vxlan"},
		{v: engineValue{&raw.Engine}, in: "ebpf", err: "want auto, af_packet, libpcap, pcap_file, vxlan or geneve"},
		{v: protocolValue{}, in: "binary", err: "want http"},
		{v: timestampValue{&raw.TimestampType}, in: "adapter_unsynced"},
		{v: timestampValue{&raw.TimestampType}, in: "go", err: "leave it out"},
		{v: timestampValue{&raw.TimestampType}, in: "best", err: "want host"},
		{v: headerValue{&raw.RealIPHeader}, in: "X-Real-IP"},
		{v: headerValue{&raw.RealIPHeader}, in: "X Real", err: "not a header's name"},
		{v: kindsValue{&kinds}, in: "replayed"},
		{v: kindsValue{&kinds}, in: "2", err: "want request, response or replayed"},
		{v: vlanValue{&vlans}, in: "4094"},
		{v: vlanValue{&vlans}, in: "4095", err: "0 to 4094"},
		{v: portValue{&raw.VXLANPort}, in: "8472"},
		{v: portValue{&raw.VXLANPort}, in: "0", err: "want a port, 1 to 65535"},
		{v: portValue{&raw.VXLANPort}, in: "65536", err: "want a port, 1 to 65535"},
		{v: vniValue{&raw.VNIs}, in: "16777216", err: "0 to 16777215, or -1 to -16777215"},
		{v: vniValue{&raw.VNIs}, in: "-16777216", err: "0 to 16777215"},
		{v: vniValue{&raw.VNIs}, in: "-0", err: "0 to 16777215"},
		{v: vniValue{&raw.VNIs}, in: "blue", err: "0 to 16777215"},
		{v: vniValue{&raw.VNIs}, in: "-16777215"},
		{v: adminValue{&admin}, in: "[::]:9090"},
		{v: adminValue{&admin}, in: "9090", err: "want host:port"},
	} {
		if !wrongError(t, test.v.Set(test.in), test.err) && test.err == "" && test.v.String() != test.in {
			t.Errorf("%T: %q is written %q", test.v, test.in, test.v)
		}
	}
}

func TestAdminListensOnLoopbackUnlessTold(t *testing.T) {
	for in, want := range map[string]string{
		":9090": "127.0.0.1:9090", "0.0.0.0:9090": "0.0.0.0:9090", "localhost:0": "localhost:0",
	} {
		var addr string
		if err := (adminValue{&addr}).Set(in); err != nil || addr != want {
			t.Errorf("%q: got %q, %v: want %q", in, addr, err, want)
		}
	}
}

func TestConnectionsAreAlwaysBounded(t *testing.T) {
	var n int
	if err := (connectionsValue{&n}).Set("0"); err != nil || n != defaultConnections {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestProfilesAreServedByTheAdminServer(t *testing.T) {
	var c Config
	if err := (pprofValue{&c}).Set(":8181"); err != nil || c.Admin != "127.0.0.1:8181" || !c.Pprof {
		t.Errorf("got %q, %v, %v", c.Admin, c.Pprof, err)
	}
	wrongError(t, pprofValue{&c}.Set(":9999"), "--admin is 127.0.0.1:8181")
}

// A share is written with as many digits as it takes to read the same again.
func TestShareIsWrittenAsItIsRead(t *testing.T) {
	for _, text := range []string{"10%", "0.5%", "33.333333%", "0.0000001%", "100%", "0%"} {
		var share, again *kagami.Share
		if err := (shareValue{&share}).Set(text); err != nil {
			t.Fatal(err)
		}
		if err := (shareValue{&again}).Set(shareValue{&share}.String()); err != nil || *again != *share {
			t.Errorf("%s is written %s, which is read as %v (%v)", text, shareValue{&share}, again, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"input-raw", "input-tcp", "output-http", "stats", "http-set-header"}
	for in, want := range map[string]string{
		"input-rwa": "input-raw", "inptu-tcp": "input-tcp", "ouput-http": "output-http", "stat": "stats",
		"http-set-headers": "http-set-header", "frobnicate": "", "": "",
	} {
		if got, _ := nearest(in, names); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
