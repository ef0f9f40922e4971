package kagami_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"kagami"
)

// seed is fixed, so that the statistics below come out the same every time.
const seed = 42

func share(t testing.TB, s string) kagami.Share {
	t.Helper()
	sh, err := kagami.ParseShare(s)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// wantShare fails unless got of n is within three standard deviations of the
// binomial distribution with probability p.
func wantShare(t *testing.T, got, n int, p float64) {
	t.Helper()
	mean, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-mean) > 3*sigma {
		t.Errorf("%d of %d chosen, want %.0f ± %.0f", got, n, mean, 3*sigma)
	}
}

// Client ports come in runs, and on Linux in steps of two: the hash must not see them.
func TestConnectionHashIsUniform(t *testing.T) {
	const n = 10_000
	for _, client := range []string{"10.0.0.1", "192.168.255.254", "2001:db8::1", "::1"} {
		for _, stride := range []int{1, 2, 4} {
			for _, percent := range []float64{0.5, 1, 10, 20, 50, 99} {
				t.Run(fmt.Sprintf("%s/stride %d/%v%%", client, stride, percent), func(t *testing.T) {
					addr := netip.MustParseAddr(client)
					salt := kagami.NewSalt(seed, 0, kagami.InputSide)
					sh, err := kagami.ShareOf(percent)
					if err != nil {
						t.Fatal(err)
					}
					chosen := 0
					for i := range n {
						port := uint16(20_000 + i*stride)
						if sh.Includes(salt.Connection(netip.AddrPortFrom(addr, port))) {
							chosen++
						}
					}
					wantShare(t, chosen, n, percent/100)
				})
			}
		}
	}
}

func TestHashesAreUniform(t *testing.T) {
	const n = 10_000
	salt := kagami.NewSalt(seed, 0, kagami.OutputSide)
	client, server := addrPort("10.1.2.3:40000"), addrPort("10.0.0.1:80")
	tests := []struct {
		name string
		hash func(i int) uint32
	}{
		{"clients of one network", func(i int) uint32 {
			return salt.Client(netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)}))
		}},
		{"clients of one IPv6 network", func(i int) uint32 {
			return salt.Client(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 7: byte(i >> 8), 8: byte(i), 15: 1}))
		}},
		{"requests of one connection", func(i int) uint32 {
			return salt.ID(kagami.MakeID(client, server, 1000+uint32(i)*350, 0, 1_700_000_000))
		}},
		{"pipelined requests", func(i int) uint32 {
			return salt.ID(kagami.MakeID(client, server, 1000, uint32(i), 1_700_000_000))
		}},
		{"numbered users", func(i int) uint32 { return salt.Bytes(fmt.Appendf(nil, "user-%d", i)) }},
		{"padded numbers", func(i int) uint32 { return salt.Bytes(fmt.Appendf(nil, "%08d", i)) }},
	}
	for _, tc := range tests {
		for _, percent := range []float64{1, 10, 50} {
			t.Run(fmt.Sprintf("%s/%v%%", tc.name, percent), func(t *testing.T) {
				sh, err := kagami.ShareOf(percent)
				if err != nil {
					t.Fatal(err)
				}
				chosen := 0
				for i := range n {
					if sh.Includes(tc.hash(i)) {
						chosen++
					}
				}
				wantShare(t, chosen, n, percent/100)
			})
		}
	}
}

func TestSharesNest(t *testing.T) {
	salt := kagami.NewSalt(seed, 0, kagami.OutputSide)
	shares := []kagami.Share{{}, share(t, "0.5%"), share(t, "10%"), share(t, "20%"), share(t, "50%"), kagami.Whole}
	chosen := make([]int, len(shares))
	for port := range 10_000 {
		h := salt.Connection(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(port)))
		for i, sh := range shares {
			if sh.Includes(h) {
				chosen[i]++
			} else if i > 0 && shares[i-1].Includes(h) {
				t.Fatalf("%v includes %#x, %v does not", shares[i-1], h, sh)
			}
		}
	}
	for i := 1; i < len(chosen); i++ {
		if chosen[i] <= chosen[i-1] {
			t.Errorf("%v chose %d, %v chose %d", shares[i-1], chosen[i-1], shares[i], chosen[i])
		}
	}
	if chosen[0] != 0 || chosen[len(chosen)-1] != 10_000 {
		t.Errorf("nothing chose %d, everything chose %d of 10000", chosen[0], chosen[len(chosen)-1])
	}
}

func TestStagesAreIndependent(t *testing.T) {
	const n = 50_000
	type stage struct {
		seed  uint64
		hop   uint8
		side  kagami.Side
		share string
	}
	tests := []struct {
		name  string
		a, b  stage
		share float64
	}{
		{"10 % here, 50 % behind a stream", stage{seed, 0, kagami.InputSide, "10%"}, stage{seed, 1, kagami.InputSide, "50%"}, 0.05},
		{"10 % here, 10 % two hops on", stage{seed, 0, kagami.OutputSide, "10%"}, stage{seed, 2, kagami.OutputSide, "10%"}, 0.01},
		{"input and output", stage{seed, 0, kagami.InputSide, "50%"}, stage{seed, 0, kagami.OutputSide, "50%"}, 0.25},
		{"neighbouring seeds", stage{0, 0, kagami.InputSide, "20%"}, stage{1, 0, kagami.InputSide, "20%"}, 0.04},
		{"seeds that differ in their high half", stage{seed, 0, kagami.InputSide, "20%"}, stage{seed + 1<<32, 0, kagami.InputSide, "20%"}, 0.04},
		{"the same stage twice", stage{seed, 0, kagami.InputSide, "10%"}, stage{seed, 0, kagami.InputSide, "50%"}, 0.10},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			saltA := kagami.NewSalt(tc.a.seed, tc.a.hop, tc.a.side)
			saltB := kagami.NewSalt(tc.b.seed, tc.b.hop, tc.b.side)
			a, b := share(t, tc.a.share), share(t, tc.b.share)
			both := map[string]int{}
			for i := range n {
				client := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(10_000+i))
				if a.Includes(saltA.Connection(client)) && b.Includes(saltB.Connection(client)) {
					both["connection"]++
				}
				key := fmt.Appendf(nil, "session=%d", i)
				if a.Includes(saltA.Bytes(key)) && b.Includes(saltB.Bytes(key)) {
					both["key"]++
				}
				id := kagami.MakeID(client, addrPort("10.0.0.1:80"), 77, 0, 1_700_000_000)
				if a.Includes(saltA.ID(id)) && b.Includes(saltB.ID(id)) {
					both["request"]++
				}
			}
			for _, got := range both {
				wantShare(t, got, n, tc.share)
			}
			if len(both) != 3 {
				t.Errorf("chosen by %v: want connection, key and request", both)
			}
		})
	}
}

func TestMappedAddressIsTheIPv4Address(t *testing.T) {
	salt := kagami.NewSalt(seed, 3, kagami.InputSide)
	four, mapped := addrPort("192.0.2.1:1234"), addrPort("[::ffff:192.0.2.1]:1234")
	if a, b := salt.Connection(four), salt.Connection(mapped); a != b {
		t.Errorf("connection: %#x as IPv4, %#x mapped", a, b)
	}
	if a, b := salt.Client(four.Addr()), salt.Client(mapped.Addr()); a != b {
		t.Errorf("client: %#x as IPv4, %#x mapped", a, b)
	}
	if a, b := salt.Client(netip.MustParseAddr("fe80::1")), salt.Client(netip.MustParseAddr("fe80::1%eth0")); a != b {
		t.Errorf("client: %#x without a zone, %#x with one", a, b)
	}
}

// TestHashIsFixed pins the function: another process, another version and the
// kernel have to choose the same. If it fails, the change is wrong.
func TestHashIsFixed(t *testing.T) {
	tests := []struct {
		name string
		got  uint32
		want uint32
	}{
		{"salt, zero seed", uint32(kagami.NewSalt(0, 0, kagami.InputSide)), 0xa39aac62},
		{"salt, output", uint32(kagami.NewSalt(0, 0, kagami.OutputSide)), 0x14419f57},
		{"salt, hop 1", uint32(kagami.NewSalt(0, 1, kagami.InputSide)), 0x7f799415},
		{"salt, seed", uint32(kagami.NewSalt(0x0123456789abcdef, 255, kagami.OutputSide)), 0xf63cedf1},
		{"connection", kagami.Salt(0).Connection(addrPort("10.0.0.1:40000")), 0xdc06b56c},
		{"connection, salted", kagami.Salt(0xdeadbeef).Connection(addrPort("10.0.0.1:40000")), 0xa3eab3b4},
		{"connection, IPv6", kagami.Salt(1).Connection(addrPort("[2001:db8::1]:443")), 0xd0c0b64c},
		{"client", kagami.Salt(0).Client(netip.MustParseAddr("10.0.0.1")), 0x7a7683cc},
		{"client, IPv6", kagami.Salt(1).Client(netip.MustParseAddr("2001:db8::1")), 0x03fe7d35},
		{"no bytes", kagami.Salt(7).Bytes(nil), 0xb28df2f8},
		{"3 bytes", kagami.Salt(7).Bytes([]byte("abc")), 0xb51d573c},
		{"4 bytes", kagami.Salt(7).Bytes([]byte("abcd")), 0x89ee3c22},
		{"9 bytes", kagami.Salt(7).Bytes([]byte("alice@x.y")), 0x6d05c44b},
		{"id", kagami.Salt(7).ID(kagami.MakeID(addrPort("10.0.0.1:40000"), addrPort("10.0.0.2:80"), 5000, 0, 1_700_000_000)), 0xb51dcb84},
	}
	for _, tc := range tests {
		if tc.got != tc.want {
			t.Errorf("%s: %#08x, want %#08x", tc.name, tc.got, tc.want)
		}
	}
}

// TestHashIsWhatTheKernelRuns computes the connection hash as the socket filter
// does: 32-bit words, exclusive or, multiplication, shift.
func TestHashIsWhatTheKernelRuns(t *testing.T) {
	absorb := func(h, w uint32) uint32 { h = (h ^ w) * 0x9E3779B1; return h ^ h>>15 }
	h := absorb(absorb(0x1234, 10<<24|1), 40000)
	h = (h ^ h>>16) * 0x7feb352d
	h = (h ^ h>>15) * 0x846ca68b
	h ^= h >> 16
	if got := kagami.Salt(0x1234).Connection(addrPort("10.0.0.1:40000")); got != h {
		t.Errorf("%#08x, want %#08x", got, h)
	}
}

func TestBytesOfDifferentLengthDiffer(t *testing.T) {
	seen := map[uint32]string{}
	for _, key := range []string{"", "\x00", "\x00\x00", "\x00\x00\x00\x00", "a", "a\x00", "a\x00\x00\x00", "a\x00\x00\x00\x00"} {
		h := kagami.Salt(0).Bytes([]byte(key))
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have the same hash", key, other)
		}
		seen[h] = key
	}
}

func TestParseShare(t *testing.T) {
	tests := []struct {
		in      string
		percent float64
		out     string
	}{
		{"10%", 10, "10%"},
		{"0.5%", 0.5, "0.5%"},
		{"33.3333%", 33.3333, "33.3333%"},
		{"0%", 0, "0%"},
		{"100%", 100, "100%"},
		{"1e1%", 10, "10%"},
	}
	for _, tc := range tests {
		t.Run(tc.in, func(t *testing.T) {
			sh, err := kagami.ParseShare(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := sh.Percent(); math.Abs(got-tc.percent) > 1e-6 {
				t.Errorf("percent %v, want %v", got, tc.percent)
			}
			if sh.String() != tc.out {
				t.Errorf("written %q, want %q", sh, tc.out)
			}
			if (sh == kagami.Whole) != (tc.percent == 100) {
				t.Errorf("is the whole: %v", sh == kagami.Whole)
			}
		})
	}
}

func TestParseShareErrors(t *testing.T) {
	for _, in := range []string{"", "%", "10", "10 %", " 10%", "10%%", "ten%", "-1%", "-0.001%", "100.001%", "150%", "NaN%", "Inf%", "1e400%", "10/s"} {
		t.Run(in, func(t *testing.T) {
			sh, err := kagami.ParseShare(in)
			if err == nil {
				t.Fatalf("read as %v", sh)
			}
			if sh != (kagami.Share{}) {
				t.Errorf("%v beside the error", sh)
			}
			if !strings.Contains(err.Error(), "%") || strings.Contains(err.Error(), "strconv") {
				t.Errorf("%q does not say what to write", err)
			}
		})
	}
}

func TestShareBounds(t *testing.T) {
	const last = math.MaxUint32
	if (kagami.Share{}).Includes(0) {
		t.Error("nothing includes the hash 0")
	}
	if !kagami.Whole.Includes(last) {
		t.Error("the whole does not include the greatest hash")
	}
	half := share(t, "50%")
	if !half.Includes(1<<31-1) || half.Includes(1<<31) {
		t.Error("50% does not end in the middle")
	}
}

func BenchmarkSaltConnection(b *testing.B) {
	b.ReportAllocs()
	salt := kagami.NewSalt(seed, 0, kagami.InputSide)
	client := addrPort("10.0.0.1:40000")
	var sum uint32
	for b.Loop() {
		sum += salt.Connection(client)
	}
	_ = sum
}

func BenchmarkSaltID(b *testing.B) {
	b.ReportAllocs()
	salt := kagami.NewSalt(seed, 0, kagami.InputSide)
	id := kagami.MakeID(addrPort("10.0.0.1:40000"), addrPort("10.0.0.2:80"), 5000, 0, 1_700_000_000)
	var sum uint32
	for b.Loop() {
		sum += salt.ID(id)
	}
	_ = sum
}
