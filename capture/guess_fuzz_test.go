package capture

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// frameParts are what segments of guess hold beside segmentParts: what looks like the middle of a
// connection of HTTP/2, and its beginning.
var frameParts = []string{
	pings()[0], pings()[0], pings()[0], strings.Repeat(pings()[0], 600), pings()[0][:20], "\x00", "\x00\x00\x00",
	getLiteral(1), getLiteral(3) + getLiteral(5), getLiteral(7) + getLiteral(9)[:12], newH2().post(11, "/", text(2500)),
	newH2().ok(1, "1") + newH2().ok(3, "3"), getLiteral(13) + getLiteral(15) + get("/behind"), get("/before") + pings()[0],
}

// prefaceParts begin a connection of HTTP/2 wherever they stand, so that it is no guess where the SYN was seen.
var prefaceParts = []string{h2Start, h2Start + getLiteral(1), h2Start[:20], "PRI * HTTP/2.0\r\n", "PRI "}

// An odd is a connection in which anything may be said.
type odd struct {
	*wire
	parts []string
	opens bool
	begun bool
}

// part returns what is said next.
func (d *dice) part(o *odd) string {
	parts := o.parts
	if n := d.roll(8); n > 3 {
		parts = frameParts
	} else if n == 3 && !o.opens {
		parts = prefaceParts
	}
	return parts[d.roll(len(parts))]
}

// oddities are packets of a few connections in which messages of HTTP/1.x and frames of HTTP/2
// follow each other as they like: lost, again, late, cut, ended, and seen by other ends as well.
func (d *dice) oddities(t *testing.T, parts []string) []Packet {
	tr := newTrace(t)
	var odds []*odd
	for i := range 1 + d.roll(6) {
		o := &odd{wire: tr.conn(fmt.Sprintf("10.0.0.%d:4000%d", 1+i/2, i), aServer), parts: parts, opens: d.roll(2) == 0}
		odds = append(odds, o)
	}
	twins := d.roll(4) == 1
	for n := 0; len(d.b) > 0 && n < 400; n++ {
		o := odds[d.roll(len(odds))]
		if o.opens && !o.begun {
			o.begun = true
			o.open()
			continue
		}
		before := len(tr.packets)
		switch action := d.roll(32); action {
		case 0:
			if o.opens {
				o.open()
			}
		case 1:
			o.close()
		case 2:
			o.hangUp()
		case 3:
			o.reset()
		case 4:
			o.cseq += uint32(d.roll(3000))
		case 5:
			o.sseq += uint32(d.roll(3000))
		case 6:
			o.resend(d.roll(100)-90, d.part(o))
		case 7:
			tr.wait(time.Duration(d.roll(3)) * time.Second)
		case 8:
			tr.snaplen = []int{0, 0, 30, 400}[d.roll(4)]
		case 9:
			tr.ifindex = d.roll(2)
		case 10:
			o.cseq += 20 << 20
		case 11, 12, 13, 14, 15, 16:
			o.answer(d.part(o))
		case 17, 18:
			o.answer(pings()...)
		case 19, 20:
			o.send(pings()...)
		default:
			o.send(d.part(o))
		}
		if twins {
			for _, p := range tr.packets[before:] {
				p.Data, p.Ifindex = slices.Clone(p.Data), p.Ifindex+2
				for _, at := range []int{12, 16} {
					if a := p.Data[at : at+4]; netip.AddrFrom4([4]byte(a)) == o.server.Addr() {
						a[3] = 99
					}
				}
				tr.packets = append(tr.packets, p)
			}
		}
	}
	return tr.packets
}

// guesses captures anything, and compares what was captured of HTTP/1.x with what is without looking for HTTP/2.
func guesses(t *testing.T, d *dice) {
	cfg := Config{Queue: 1 << 30, Responses: d.roll(3) > 0, AllowIncomplete: d.roll(4) == 1, ReplayHeader: "Kagami-Replay"}
	if d.roll(2) == 0 {
		cfg.Ports = []uint16{80}
	}
	if d.roll(4) == 1 {
		cfg.MaxConnections = 3
	}
	if d.roll(8) == 1 {
		cfg.ResponseHead = 100
	}
	if d.roll(8) == 1 {
		cfg.Local = func(_ int, a netip.Addr) bool { return a.As4()[3]&1 == 0 }
	}
	if d.roll(8) == 1 {
		cfg.Own = func(client, _ netip.AddrPort) bool { return client.Port()&1 == 0 }
	}
	if d.roll(4) == 1 {
		cfg.Memory = 15_000
	}
	parts := slices.DeleteFunc(slices.Clone(segmentParts), func(p string) bool {
		// Where the server agreed to HTTP/2 it is none of a guess's, and is joined again once it was forgotten.
		return strings.HasPrefix(p, "PRI ") || cfg.Memory > 0 && strings.Contains(p, "h2c")
	})
	shuffled := d.roll(3) == 1
	rest := d.b
	if shuffled {
		d.b, rest = rest[:len(rest)/2], rest[len(rest)/2:]
	}
	packets := d.oddities(t, parts)
	if shuffled && len(packets) > 0 {
		packets = (&dice{rest}).disturb(packets)
	}
	sameHTTP1(t, packets, cfg)
}

func FuzzGuess(f *testing.F) {
	f.Add([]byte{})
	long := make([]byte, 600)
	for i := range long {
		long[i] = byte(i * i * 7)
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, choices []byte) { guesses(t, &dice{choices}) })
}

// The same with numbers that no fuzzer chose.
func TestGuesses(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 2000 {
		choices := make([]byte, r.IntN(600))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		if guesses(t, &dice{choices}); t.Failed() {
			t.Fatalf("round %d", n)
		}
	}
}
