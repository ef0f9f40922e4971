package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kagami"
)

func TestSuffixOfAnAddressThatIsSampled(t *testing.T) {
	for _, test := range []struct {
		in      string
		address string
		share   string // "" for none
		limit   float64
		err     string // what the error has to say
	}{
		{in: "http://a", address: "http://a"},
		{in: "http://a|10%", address: "http://a", share: "10%"},
		{in: "http://a|0.5%", address: "http://a", share: "0.5%"},
		{in: "http://a|0%", address: "http://a", share: "0%"},
		{in: "http://a|100%", address: "http://a", share: "100%"},
		{in: "http://a|100", address: "http://a", limit: 100},
		{in: "http://a|100/s", address: "http://a", limit: 100},
		{in: "http://a|0.5/s", address: "http://a", limit: 0.5},
		{in: "http://a|50%|200/s", address: "http://a", share: "50%", limit: 200},
		{in: "http://a|200|50%", address: "http://a", share: "50%", limit: 200},
		{in: "http://a/?q=x|y|10%", address: "http://a/?q=x|y", share: "10%"},
		{in: "http://a/?q=x%|10%", address: "http://a/?q=x%", share: "10%"},
		{in: "|10%", address: "", share: "10%"},
		{in: "http://a|150%", err: "0% to 100%"},
		{in: "http://a|10%|20%", err: "two of a kind"},
		{in: "http://a|10|20/s", err: "two of a kind"},
		{in: "http://a|10%|20|30%", err: "two of a kind"},
		{in: "http://a|x%", err: "unknown suffix |x%"},
		{in: "http://a|", err: "unknown suffix |"},
		{in: "http://a/?q=x|y", err: "end it with |100%"},
		{in: "http://a|max", err: "want a percentage"},
		{in: "http://a|0", err: "how many requests a second"},
		{in: "http://a|-5", err: "unknown suffix"},
		{in: "http://a|+5%", err: "unknown suffix"},
		{in: "http://a|1e2", err: "unknown suffix"},
		{in: "http://a|0x10", err: "unknown suffix"},
		{in: "http://a|NaN%", err: "unknown suffix"},
		{in: "http://a|.5%", err: "unknown suffix"},
		{in: "http://a|10 %", err: "unknown suffix"},
		{in: "http://a|100/m", err: "unknown suffix"},
		{in: "http://a|" + strings.Repeat("9", 400), err: "how many requests a second"},
	} {
		t.Run(test.in, func(t *testing.T) {
			var share *kagami.Share
			var limit float64
			address, _, err := cutSuffix(test.in, shareValue{&share}, limitValue{&limit})
			if wrongError(t, err, test.err) || test.err != "" {
				return
			}
			if got := (shareValue{&share}).String(); address != test.address || got != test.share || limit != test.limit {
				t.Errorf("got %q, share %q, limit %v: want %q, %q, %v", address, got, limit, test.address, test.share, test.limit)
			}
		})
	}
}

func TestSuffixOfARecording(t *testing.T) {
	for _, test := range []struct {
		in      string
		address string
		speed   float64
		max     bool
		limit   float64
		err     string
	}{
		{in: "f.gor", address: "f.gor", speed: 1},
		{in: "f.gor|200%", address: "f.gor", speed: 2},
		{in: "f.gor|10%", address: "f.gor", speed: 0.1},
		{in: "f.gor|max", address: "f.gor", speed: 1, max: true},
		{in: "f.gor|100", address: "f.gor", speed: 1, limit: 100},
		{in: "f.gor|max|100/s", address: "f.gor", speed: 1, max: true, limit: 100},
		{in: "f.gor|100/s|250%", address: "f.gor", speed: 2.5, limit: 100},
		{in: "a|b|100%", address: "a|b", speed: 1},
		{in: "f.gor|0%", err: "want the speed"},
		{in: "f.gor|max|200%", err: "two of a kind"},
		{in: "f.gor|fast", err: "unknown suffix |fast"},
	} {
		t.Run(test.in, func(t *testing.T) {
			c := FileInputConfig{Speed: 1}
			var limit float64
			address, _, err := cutSuffix(test.in, speedValue{&c}, limitValue{&limit})
			if wrongError(t, err, test.err) || test.err != "" {
				return
			}
			if address != test.address || c.Speed != test.speed || c.Max != test.max || limit != test.limit {
				t.Errorf("got %q, speed %v, max %v, limit %v: want %q, %v, %v, %v",
					address, c.Speed, c.Max, limit, test.address, test.speed, test.max, test.limit)
			}
		})
	}
}

// Whatever is cut off an address and what is left make up the whole of it.
func FuzzSuffix(f *testing.F) {
	for _, s := range []string{"http://a|10%", ":80|50%|200/s", "f.gor|max", "a|b|0.5%", "||", "|1|2|3", "x|100/s/s", "|٣%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, suffixes, err := splitSuffix(s)
		if err != nil {
			if !strings.Contains(s, "|") {
				t.Fatalf("%q has no suffix: %v", s, err)
			}
			return
		}
		slices.Reverse(suffixes)
		if whole := strings.Join(append([]string{address}, suffixes...), "|"); whole != s {
			t.Fatalf("%q became %q and %q", s, address, suffixes)
		}
		var share *kagami.Share
		var limit float64
		if _, _, err := cutSuffix(s, shareValue{&share}, limitValue{&limit}); err != nil {
			return
		}
		if share == nil && limit == 0 && address != s {
			t.Fatalf("%q: %q was cut off and means nothing", s, suffixes)
		}
		if share != nil && !(share.Percent() >= 0 && share.Percent() <= 100) || limit < 0 {
			t.Fatalf("%q: share %v, limit %v", s, share, limit)
		}
	})
}

func TestRawAddress(t *testing.T) {
	const capture = engineLibpcap
	for _, test := range []struct {
		in     string
		engine string // as configured
		want   RawConfig
		err    string
	}{
		{in: ":8080", want: RawConfig{Engine: capture, Ports: []uint16{8080}}},
		{in: "eth0:80,443", want: RawConfig{Engine: capture, Host: "eth0", Ports: []uint16{80, 443}}},
		{in: "eth*:80", want: RawConfig{Engine: capture, Host: "eth*", Ports: []uint16{80}}},
		{in: "any:443,80,443", want: RawConfig{Engine: capture, Host: "any", Ports: []uint16{80, 443}}},
		{in: "10.0.0.1:80-83,90", want: RawConfig{Engine: capture, Host: "10.0.0.1", Ports: []uint16{80, 81, 82, 83, 90}}},
		{in: "localhost:80", want: RawConfig{Engine: capture, Host: "127.0.0.1", Ports: []uint16{80}}},
		{in: "[::1]:80", want: RawConfig{Engine: capture, Host: "::1", Ports: []uint16{80}}},
		{in: "lo:", want: RawConfig{Engine: capture, Host: "lo"}},
		{in: ":0", want: RawConfig{Engine: capture}},
		{in: "dump.pcap", want: RawConfig{Engine: enginePcapFile, Host: "dump.pcap"}},
		{in: "/tmp/a:b.pcapng.gz", want: RawConfig{Engine: enginePcapFile, Host: "/tmp/a:b.pcapng.gz"}},
		{in: "dump.PCAP:8080", want: RawConfig{Engine: enginePcapFile, Host: "dump.PCAP", Ports: []uint16{8080}}},
		{in: "dump.cap", engine: enginePcapFile, want: RawConfig{Engine: enginePcapFile, Host: "dump.cap"}},
		{in: ":99999", err: "port 99999: want 1 to 65535"},
		{in: ":http", err: "port http: want 1 to 65535"},
		{in: ":80,", err: `port "": want 1 to 65535`},
		{in: ":80-", err: `port "": want`},
		{in: ":90-80", err: "the first is larger"},
		{in: ":1-65535", err: "for every port leave them out"},
		{in: "8080", err: "as in :8080"},
		{in: "eth0", err: "want [interface or address]:port"},
		{in: "::1:80", err: "[::1]:80"},
		{in: "[::1:80", err: "in the brackets"},
		{in: "[eth0]:80", err: "in the brackets"},
		{in: "k8s://pod/web:80", err: "which node is this?"},
		{in: "dump.pcap:0x50", err: "port 0x50"},
	} {
		t.Run(test.in, func(t *testing.T) {
			got := RawConfig{Engine: capture}
			if test.engine != "" {
				got.Engine = test.engine
			}
			err := parseRaw(test.in, &got)
			if wrongError(t, err, test.err) || test.err != "" {
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPortsAreWrittenAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "0": "", "80": "80", "80,81": "80-81", "443,80": "80,443", "1-3,2-5,65535": "1-5,65535",
	} {
		ports, err := parsePorts(text)
		if got := portsText(ports); err != nil || got != want {
			t.Errorf("%q: got %q, %v: want %q", text, got, err, want)
		}
		again, err := parsePorts(portsText(ports))
		if err != nil || !slices.Equal(again, ports) {
			t.Errorf("%q: read again %v, %v: want %v", text, again, err, ports)
		}
	}
}

func TestManyPortsAreCounted(t *testing.T) {
	var list []string
	for p := 1; p <= maxPorts; p++ {
		list = append(list, strconv.Itoa(p*2))
	}
	if ports, err := parsePorts(strings.Join(list, ",")); err != nil || len(ports) != maxPorts {
		t.Errorf("%d ports, %v: want %d", len(ports), err, maxPorts)
	}
	_, err := parsePorts(strings.Join(append(list, "9999"), ","))
	wrongError(t, err, "more than 1024 ports")
}

func TestHostPort(t *testing.T) {
	for _, test := range []struct {
		in     string
		server bool
		err    string
	}{
		{in: "replayer:28020"},
		{in: "[::1]:28020"},
		{in: ":28020", server: true},
		{in: "127.0.0.1:0", server: true},
		{in: ":28020", err: "as in replayer:28020"},
		{in: "replayer:0", err: "want 1 to 65535"},
		{in: "replayer", err: "as in replayer:28020"},
		{in: "tcp://replayer:28020", err: "without tcp://"},
		{in: "::1:28020", err: "[::1]:28020"},
		{in: ":70000", server: true, err: "port 70000"},
	} {
		wrongError(t, checkHostPort(test.in, test.server), test.err)
	}
}

func TestTarget(t *testing.T) {
	for _, test := range []struct{ in, want, err string }{
		{in: "http://staging", want: "http://staging"},
		{in: "https://u:p@staging:8443/base", want: "https://u:p@staging:8443/base"},
		{in: "staging:8080", want: "http://staging:8080"},
		{in: "127.0.0.1:8080/base", want: "http://127.0.0.1:8080/base"},
		{in: "http://[::1]:80", want: "http://[::1]:80"},
		{in: "ftp://staging", err: "want http:// or https://"},
		{in: "http://", err: "has no host"},
		{in: "http://:8080", err: "has no host"},
		{in: "http://staging:99999", err: "port 99999"},
		{in: "http://staging/#top", err: "leave ? and # out"},
		{in: "http://staging/?x=y", err: "--http-set-param"},
		{in: "http://a b", err: "not a URL: invalid character"},
	} {
		got, err := parseTarget(test.in)
		if !wrongError(t, err, test.err) && got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

// wrongError reports an error that does not say what it should, or one that
// should not be there.
func wrongError(t *testing.T, err error, want string) bool {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
		return true
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v: want one that says %q", err, want)
		return true
	}
	return false
}
