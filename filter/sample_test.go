package filter_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"kagami"
	"kagami/filter"
)

func share(t testing.TB, s string) kagami.Share {
	t.Helper()
	sh, err := kagami.ParseShare(s)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

func newSample(t testing.TB, percent, by string) filter.Filter {
	t.Helper()
	return sampleOf(t, filter.SampleConfig{Share: share(t, percent), By: by, Seed: 42})
}

func sampleOf(t testing.TB, cfg filter.SampleConfig) filter.Filter {
	t.Helper()
	f, err := filter.NewSample(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// traffic returns n requests: 10 on each connection, 100 from each client, with
// a user in a header, a cookie and a parameter, who changes every 25 requests.
func traffic(n int) []*kagami.Message {
	server := netip.MustParseAddrPort("10.0.0.2:80")
	ms := make([]*kagami.Message, n)
	for i := range ms {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 100 >> 8), byte(i / 100)}), uint16(20_000+i/10))
		ms[i] = request(fmt.Sprintf("GET /?user=p%d&i=%d HTTP/1.1\nX-User: h%d\nCookie: a=b; user=c%d\n\n", i/25, i, i/25, i/25))
		ms[i].Client = client
		ms[i].Exchange = &kagami.Exchange{ID: kagami.MakeID(client, server, uint32(1000+i%10), 0, 1_700_000_000)}
	}
	return ms
}

func kept(t testing.TB, f filter.Filter, m *kagami.Message) bool {
	t.Helper()
	got, r := f.Apply(m)
	switch {
	case r == kagami.Delivered && got == m:
		return true
	case r == kagami.SampledOut && got == nil:
		return false
	}
	t.Fatalf("%v, %v: want the message kept as it is or sampled out", got, r)
	return false
}

func TestSampleKeepsTogetherWhatBelongsTogether(t *testing.T) {
	const n = 20_000
	ms := traffic(n)
	tests := []struct {
		by    string
		group int // so many requests in a row have one fate
	}{
		{"", 1}, {"request", 1}, {"connection", 10}, {"client", 100},
		{"header:x-user", 25}, {"cookie:user", 25}, {"param:user", 25},
	}
	for _, tc := range tests {
		t.Run("by "+tc.by, func(t *testing.T) {
			f := newSample(t, "20%", tc.by)
			count, groups := 0, 0
			first := false
			for i, m := range ms {
				k := kept(t, f, m)
				if i%tc.group == 0 {
					first = k
					if k {
						groups++
					}
				}
				if k != first {
					t.Fatalf("request %d has another fate than the first of its group", i)
				}
				if k {
					count++
				}
			}
			mean := float64(n/tc.group) * 0.2
			if sigma := math.Sqrt(mean * 0.8); math.Abs(float64(groups)-mean) > 4*sigma {
				t.Errorf("%d of %d groups kept, want %.0f ± %.0f", groups, n/tc.group, mean, 4*sigma)
			}
			if count != groups*tc.group {
				t.Errorf("%d requests in %d groups of %d", count, groups, tc.group)
			}
		})
	}
}

// By connection and by client a sample is the one that the kernel can take.
func TestSampleIsTheVocabularysHash(t *testing.T) {
	salt := kagami.NewSalt(42, 3, kagami.InputSide)
	sh := share(t, "30%")
	hashes := map[string]func(m *kagami.Message) uint32{
		"connection":    func(m *kagami.Message) uint32 { return salt.Connection(m.Client) },
		"client":        func(m *kagami.Message) uint32 { return salt.Client(m.Client.Addr()) },
		"request":       func(m *kagami.Message) uint32 { return salt.ID(m.Exchange.ID) },
		"header:X-User": func(m *kagami.Message) uint32 { return salt.Bytes([]byte(between(m, "X-User: ", "\r"))) },
		"cookie:user":   func(m *kagami.Message) uint32 { return salt.Bytes([]byte(between(m, "; user=", "\r"))) },
		"param:user":    func(m *kagami.Message) uint32 { return salt.Bytes([]byte(between(m, "?user=", "&"))) },
	}
	for by, hash := range hashes {
		f := sampleOf(t, filter.SampleConfig{Share: sh, By: by, Seed: 42, Side: kagami.InputSide})
		for _, m := range traffic(1000) {
			m.Hop = 3
			if got, want := kept(t, f, m), sh.Includes(hash(m)); got != want {
				t.Fatalf("by %s: %v, want %v", by, got, want)
			}
		}
	}
}

func between(m *kagami.Message, after, before string) string {
	_, s, _ := strings.Cut(string(m.Raw), after)
	s, _, _ = strings.Cut(s, before)
	return s
}

func TestSampleFallsBackToTheConnection(t *testing.T) {
	const plain = "GET / HTTP/1.1\nX-User:\nCookie: user=; USER=a; xuser=b; user\n\n"
	for _, by := range []string{"header:X-User", "header:X-None", "cookie:user", "param:user"} {
		f, connection := newSample(t, "50%", by), newSample(t, "50%", "connection")
		for _, m := range traffic(500) {
			m.Raw = request(plain).Raw
			if got, want := kept(t, f, m), kept(t, connection, m); got != want {
				t.Fatalf("by %s, missing: %v, by connection: %v", by, got, want)
			}
		}
	}
	for _, by := range []string{"connection", "client", "header:X-None"} {
		f, one := newSample(t, "50%", by), newSample(t, "50%", "request")
		for _, m := range traffic(500) {
			m.Client = netip.AddrPort{} // as in a recording that has no addresses
			if got, want := kept(t, f, m), kept(t, one, m); got != want {
				t.Fatalf("by %s, connection unknown: %v, by request: %v", by, got, want)
			}
		}
	}
}

func TestSampleByCookie(t *testing.T) {
	f := newSample(t, "50%", "cookie:sid")
	want := map[bool]int{}
	for i := range 200 {
		id := fmt.Sprintf("s%d", i)
		first := kept(t, f, request("GET / HTTP/1.1\nCookie: sid="+id+"\n\n"))
		want[first]++
		for _, header := range []string{
			"Cookie: a=1;  sid = " + id + " ;b=2",
			"cookie: SID=other; sid=" + id,
			"Cookie: a=sid=x; sid=" + id + "; sid=later",
			"Cookie: a=1\nCookie: sid=" + id,
		} {
			if kept(t, f, request("GET / HTTP/1.1\n"+header+"\n\n")) != first {
				t.Fatalf("%q has another fate than sid=%s alone", header, id)
			}
		}
	}
	if want[true] == 0 || want[false] == 0 {
		t.Errorf("kept and dropped: %v", want)
	}
}

func TestSamplesNest(t *testing.T) {
	shares := []string{"10%", "20%", "50%"}
	for _, by := range []string{"request", "connection", "param:user"} {
		var fs []filter.Filter
		for _, s := range shares {
			fs = append(fs, newSample(t, s, by))
		}
		for _, m := range traffic(5000) {
			for i := 1; i < len(fs); i++ {
				if kept(t, fs[i-1], m) && !kept(t, fs[i], m) {
					t.Fatalf("by %s: in %s and not in %s", by, shares[i-1], shares[i])
				}
			}
		}
	}
}

func TestSamplesOfStagesAreIndependent(t *testing.T) {
	const n = 50_000
	input := sampleOf(t, filter.SampleConfig{Share: share(t, "50%"), Side: kagami.InputSide})
	output := sampleOf(t, filter.SampleConfig{Share: share(t, "10%")})
	tests := []struct {
		name   string
		a, b   filter.Filter
		hops   [2]uint8
		shares float64
	}{
		{"an input's and an output's", input, output, [2]uint8{0, 0}, 0.05},
		{"an output's here and behind a stream", output, output, [2]uint8{0, 1}, 0.01},
		{"the same output's", output, output, [2]uint8{0, 0}, 0.10},
	}
	ms := traffic(n)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			both := 0
			for _, m := range ms {
				m.Hop = tc.hops[0]
				first := kept(t, tc.a, m)
				m.Hop = tc.hops[1]
				if first && kept(t, tc.b, m) {
					both++
				}
			}
			mean := n * tc.shares
			if sigma := math.Sqrt(mean * (1 - tc.shares)); math.Abs(float64(both)-mean) > 4*sigma {
				t.Errorf("%d of %d in both, want %.0f ± %.0f", both, n, mean, 4*sigma)
			}
		})
	}
}

func TestSampleBounds(t *testing.T) {
	all := sampleOf(t, filter.SampleConfig{Share: kagami.Whole, By: "header:X-User"})
	none := sampleOf(t, filter.SampleConfig{})
	for _, m := range traffic(200) {
		if !kept(t, all, m) {
			t.Fatal("100% dropped one")
		}
		if kept(t, none, m) {
			t.Fatal("0% kept one")
		}
	}
	answer := &kagami.Message{Kind: kagami.Response, Exchange: &kagami.Exchange{}}
	if got, r := none.Apply(answer); got != answer || r != kagami.Delivered {
		t.Errorf("an answer: %v, %v", got, r)
	}
}

func TestSampleErrors(t *testing.T) {
	for _, by := range []string{"Request", "header", "header:", "header:a b", "cookie:", "cookie:a=b", "param:", "request:x", "url"} {
		f, err := filter.NewSample(filter.SampleConfig{Share: kagami.Whole, By: by})
		if err == nil || f != nil {
			t.Errorf("by %q: %v, %v", by, f, err)
		} else if want := fmt.Sprintf("--sample-by %q: want request, connection, client, header:NAME, cookie:NAME or param:NAME", by); err.Error() != want {
			t.Errorf("%s\nwant %s", err, want)
		}
	}
	if f, err := filter.NewSample(filter.SampleConfig{Side: 3}); err == nil {
		t.Errorf("side 3: %v", f)
	}
}
