package broker

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kagami"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		text, want string
		servers    []string
	}{
		{"nats://a", "nats://a:4222/kagami", []string{"nats://a:4222"}},
		{"nats://a:1,b,c:3/x_1", "nats://a:1,b:4222,c:3/x_1", []string{"nats://a:1", "nats://b:4222", "nats://c:3"}},
		{"tls://u:p%40w@a,b/", "tls://a:4222,b:4222/kagami", []string{"tls://u:p%40w@a:4222", "tls://u:p%40w@b:4222"}},
		{"nats://token@[::1]:5", "nats://[::1]:5/kagami", []string{"nats://token@[::1]:5"}},
		{"nats://[::1]", "nats://[::1]:4222/kagami", []string{"nats://[::1]:4222"}},
	} {
		a, err := ParseAddress(c.text)
		if err != nil || a.String() != c.want || !slices.Equal(a.Servers, c.servers) {
			t.Errorf("%s: %s, %q, %v", c.text, a, a.Servers, err)
		}
	}
	for _, text := range []string{"", "a:4222", "http://a", "nats://", "nats:///x", "nats://a/x/y", "nats://a/x.y", "nats://a:0", "nats://a:x",
		"nats://a:99999", "nats://::1", "nats://a,,b", "nats://a?x=1", "nats://us er:secret@a", "nats://a/" + strings.Repeat("x", 65)} {
		if a, err := ParseAddress(text); err == nil {
			t.Errorf("%q: taken as %s", text, a)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error has the password: %v", text, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("nats://u:p@a:1,b/x")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again.String() != a.String() {
			t.Errorf("%q is %q, and that is %q, %v", s, a, again, err)
		}
	})
}

func TestFindShards(t *testing.T) {
	got := FindShards("x", []string{"x.8.*", "y.16.*", "x.>", "x.0.*", "x.2000.*", "x.16.*", "x.8.*", "x.a.*", "x.4.1"})
	if want := []Shards{{"x", 16}, {"x", 8}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := CheckSubjects("x", []string{"x.>"}); err == nil || !strings.Contains(err.Error(), "x.16.*") {
		t.Errorf("error %v", err)
	}
}

// All of a connection goes to one shard, and connections spread evenly over all
// of them, those of a sample by connection too.
func TestShardOf(t *testing.T) {
	s := Shards{"x", 16}
	salt := kagami.NewSalt(0, 0, kagami.OutputSide)
	tenth, err := kagami.ParseShare("10%")
	if err != nil {
		t.Fatal(err)
	}
	var all, sampled [16]int
	for i := range 160_000 {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 12), 1}), uint16(20_000+i&0xfff))
		i := s.Of(&kagami.Message{Client: client, Exchange: &kagami.Exchange{}})
		if j := s.Of(&kagami.Message{Kind: kagami.Response, Client: client, Exchange: &kagami.Exchange{}}); i != j {
			t.Fatalf("the answer goes to shard %d, and the request to %d", j, i)
		}
		all[i]++
		if tenth.Includes(salt.Connection(client)) {
			sampled[i]++
		}
	}
	for i := range all {
		if all[i] < 9_000 || all[i] > 11_000 || sampled[i] < 800 || sampled[i] > 1200 {
			t.Errorf("shard %d has %d of 160000 connections, and %d of a tenth of them", i, all[i], sampled[i])
		}
	}
}

func TestID(t *testing.T) {
	want := ID{Listener: "web-1.example.com", Epoch: 0xfedcba9876543210, Shard: 15, Batch: 1 << 40}
	if s := want.String(); s != "web-1.example.com.fedcba9876543210.15.1099511627776" {
		t.Error(s)
	}
	if got, err := ParseID(want.String()); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, s := range []string{"", "a", "a.b.c", ".0000000000000001.1.1", "a.1.1.1", "a.000000000000000g.1.1", "a.0000000000000001.-1.1", "a.0000000000000001.1."} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q: taken as %+v", s, id)
		}
	}
	if n := PlainName("a b\r\nc"); n != "a_b__c" {
		t.Error(n)
	}
	if n := PlainName(""); n != "listener" {
		t.Error(n)
	}
	if n := PlainName(strings.Repeat("x", 300)); len(n) != maxListener {
		t.Error(len(n))
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(ID{"a", 1, 2, 3}.String())
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Errorf("%q is %+v, and that is %+v, %v", s, id, again, err)
		}
	})
}

// In clear nothing leaves the host, unless that is allowed.
func TestInClearOnlyHere(t *testing.T) {
	for address, allowed := range map[string]bool{"127.0.0.1:4222": true, "[::1]:4222": true, "10.0.0.1:4222": false, "[::ffff:127.0.0.1]:1": true, "x:1": false} {
		if err := onlyLoopback("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	for text, local := range map[string]bool{"nats://127.0.0.1,localhost,[::1]": true, "nats://127.0.0.1,b": false, "nats://192.0.2.1": false} {
		a, err := ParseAddress(text)
		if err != nil || a.local() != local {
			t.Errorf("%s: local %v, %v", text, a.local(), err)
		}
	}
}
