package kagami_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"kagami"
)

func TestMakeID(t *testing.T) {
	tests := []struct {
		name           string
		client, server string
		ack, ordinal   uint32
		second         int64
		want           string
	}{
		{"as GoReplay's, and more", "10.0.0.1:40000", "10.0.0.2:80", 0x1388, 0, 1_700_000_000,
			"9c40" + "0050" + "0a000001" + "00001388" + "00000000" + "6553f100"},
		{"pipelined", "10.0.0.1:40000", "10.0.0.2:80", 0x1388, 2, 1_700_000_000,
			"9c40" + "0050" + "0a000001" + "00001388" + "00000002" + "6553f100"},
		{"IPv6: the address's last four bytes", "[2001:db8::a:b]:65535", "[::1]:8080", 1<<32 - 1, 0, 0,
			"ffff" + "1f90" + "000a000b" + "ffffffff" + "00000000" + "00000000"},
		{"IPv4 mapped", "[::ffff:10.0.0.1]:40000", "10.0.0.2:80", 0x1388, 0, 1_700_000_000,
			"9c40" + "0050" + "0a000001" + "00001388" + "00000000" + "6553f100"},
		{"after 2106 the second wraps", "10.0.0.1:1", "10.0.0.2:2", 0, 0, 1<<32 + 5,
			"0001" + "0002" + "0a000001" + "00000000" + "00000000" + "00000005"},
		{"no addresses", "", "", 1, 0, 2,
			"0000" + "0000" + "00000000" + "00000001" + "00000000" + "00000002"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var client, server netip.AddrPort
			if tc.client != "" {
				client, server = addrPort(tc.client), addrPort(tc.server)
			}
			id := kagami.MakeID(client, server, tc.ack, tc.ordinal, tc.second)
			if id.String() != tc.want {
				t.Errorf("%s, want %s", id, tc.want)
			}
			if id.Len() != 20 || id.IsZero() {
				t.Errorf("length %d, zero %v", id.Len(), id.IsZero())
			}
		})
	}
}

func TestIDRoundTrips(t *testing.T) {
	for _, hex := range []string{"00", "ff", "9c4000500a00000100001388", strings.Repeat("a5", 20)} {
		t.Run(hex, func(t *testing.T) {
			id, err := kagami.ParseID(hex)
			if err != nil {
				t.Fatal(err)
			}
			if id.String() != hex || id.Len() != len(hex)/2 {
				t.Errorf("%s of %d bytes", id, id.Len())
			}
			b, err := kagami.IDFromBytes(id.Append(nil))
			if err != nil || b != id {
				t.Errorf("from its bytes: %s, %v", b, err)
			}
			if got := string(id.AppendHex([]byte("id="))); got != "id="+hex {
				t.Errorf("appended: %s", got)
			}
			var fromJSON kagami.ID
			text, err := json.Marshal(id)
			if err != nil || string(text) != `"`+hex+`"` {
				t.Fatalf("JSON %s, %v", text, err)
			}
			if err := json.Unmarshal(text, &fromJSON); err != nil || fromJSON != id {
				t.Errorf("from JSON: %s, %v", fromJSON, err)
			}
		})
	}
}

func TestZeroID(t *testing.T) {
	var id kagami.ID
	if !id.IsZero() || id.Len() != 0 || id.String() != "" || len(id.Append(nil)) != 0 {
		t.Errorf("%q of %d bytes", id, id.Len())
	}
	text, err := json.Marshal(id)
	if err != nil || string(text) != `""` {
		t.Fatalf("JSON %s, %v", text, err)
	}
	read, _ := kagami.ParseID("01")
	if err := json.Unmarshal(text, &read); err != nil || !read.IsZero() {
		t.Errorf("from JSON: %q, %v", read, err)
	}
}

func TestIDsThatDifferInLengthDiffer(t *testing.T) {
	short, err := kagami.ParseID("01")
	if err != nil {
		t.Fatal(err)
	}
	long, err := kagami.ParseID("0100")
	if err != nil {
		t.Fatal(err)
	}
	if short == long {
		t.Error("01 and 0100 are the same id")
	}
	if upper, err := kagami.ParseID("AB"); err != nil || upper.String() != "ab" {
		t.Errorf("AB reads as %s, %v", upper, err)
	}
}

func TestIDErrors(t *testing.T) {
	for _, s := range []string{"", "1", "abc", "0g", "zz", " 01", strings.Repeat("0", 42), strings.Repeat("x", 1<<16)} {
		id, err := kagami.ParseID(s)
		if err == nil || !id.IsZero() {
			t.Errorf("%.50q reads as %s, %v", s, id, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes: it repeats what may be an attacker's", len(err.Error()))
		}
		kept := kagami.MakeID(netip.AddrPort{}, netip.AddrPort{}, 1, 1, 1)
		before := kept
		if s != "" && (kept.UnmarshalText([]byte(s)) == nil || kept != before) {
			t.Errorf("%.50q changed an id to %s", s, kept)
		}
	}
	for _, n := range []int{0, 21} {
		if id, err := kagami.IDFromBytes(make([]byte, n)); err == nil {
			t.Errorf("%d bytes read as %s", n, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"", "00", "9c4000500a00000100001388", "0g", strings.Repeat("F", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := kagami.ParseID(s)
		if err != nil {
			return
		}
		if again, err := kagami.ParseID(id.String()); err != nil || again != id {
			t.Fatalf("%q: %s reads as %s, %v", s, id, again, err)
		}
		if !strings.EqualFold(id.String(), s) {
			t.Fatalf("%q reads as %s", s, id)
		}
	})
}
