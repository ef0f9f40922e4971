package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
)

// What the program keeps in the 16 words of memory it has. Offsets count from
// the link's base, for the base is in the instructions.
const (
	mTag    = iota // the network header's offset: 4 for each tag
	mSport         // the ports
	mDport         //
	mTemp          // short-lived
	mWord0         // the client's address, one word or four
	mWord1         //
	mWord2         //
	mWord3         // the last or only word
	mKeep          // what is returned
	mSix           // 1: IPv6
	mTCP           // the TCP header's offset
	mEnd           // the offset of the packet's end, 0 if it is not known
	mPort          // the client's port
	mClient        // the offset of the client's address
	mSrc           // the offset of the source address
	mDst           // of the destination
)

// A generator writes the program for one configuration.
type generator struct {
	asm
	link   Link
	cfg    Config
	ranges []PortRange
	blocks int // of comparisons with hosts, for their labels
}

// Program returns the program that lets through what cfg wants of packets
// on the link, for SO_ATTACH_FILTER. The error says what does not fit.
func Program(link Link, cfg Config) ([]bpf.RawInstruction, error) {
	if link > RawIP {
		return nil, fmt.Errorf("no filter for link %d: want Ethernet, Network or RawIP", link)
	}
	cfg = cfg.withDefaults()
	g := &generator{link: link, cfg: cfg, ranges: PortRanges(cfg.Ports, maxRanges)}
	g.loopback()
	g.tags()
	g.ipv4()
	g.ipv6()
	g.tcp()
	if cfg.directed() {
		g.direction()
		g.samples()
	} else {
		g.ends()
	}
	g.label("whole")
	g.do(bpf.RetConstant{Val: cfg.Snaplen})
	g.label("drop")
	g.do(bpf.RetConstant{})
	return g.assemble()
}

// Small words for the instructions used most.

func imm(k uint32) bpf.Instruction              { return bpf.LoadConstant{Dst: bpf.RegA, Val: k} }
func load(m int) bpf.Instruction                { return bpf.LoadScratch{Dst: bpf.RegA, N: m} }
func loadX(m int) bpf.Instruction               { return bpf.LoadScratch{Dst: bpf.RegX, N: m} }
func store(m int) bpf.Instruction               { return bpf.StoreScratch{Src: bpf.RegA, N: m} }
func alu(o bpf.ALUOp, k uint32) bpf.Instruction { return bpf.ALUOpConstant{Op: o, Val: k} }
func aluX(o bpf.ALUOp) bpf.Instruction          { return bpf.ALUOpX{Op: o} }
func ext(e bpf.Extension) bpf.Instruction       { return bpf.LoadExtension{Num: e} }
func (g *generator) at(off uint32, n int) bpf.Instruction {
	return bpf.LoadIndirect{Off: g.link.base() + off, Size: n}
}

// loopback drops one of the two copies of a packet on lo.
func (g *generator) loopback() {
	if g.cfg.Loopback == 0 {
		return
	}
	g.do(ext(bpf.ExtInterfaceIndex))
	g.when(bpf.JumpNotEqual, uint32(g.cfg.Loopback), "other")
	g.do(ext(bpf.ExtType))
	g.when(bpf.JumpEqual, outgoing, "drop")
	g.label("other")
}

const outgoing = 4 // PACKET_OUTGOING

// tags finds the network header behind VLAN tags and goes to its protocol's part.
func (g *generator) tags() {
	g.do(imm(0), store(mTag))
	switch g.link {
	case RawIP:
		if len(g.cfg.VLANIDs) > 0 {
			g.jump("drop")
		}
		g.version()
		return
	case Ethernet:
		g.do(bpf.LoadAbsolute{Off: 12, Size: 2})
	case Network:
		g.do(ext(bpf.ExtProto))
	}
	switch {
	case len(g.cfg.VLANIDs) > 0:
		g.vlanIDs()
	case g.cfg.VLAN:
		g.vlan()
	}
	g.label("proto")
	g.when(bpf.JumpEqual, 0x0800, "ipv4")
	g.when(bpf.JumpEqual, 0x86dd, "ipv6")
	g.jump("drop")
}

// version goes by what the IP header says itself.
func (g *generator) version() {
	g.do(bpf.LoadAbsolute{Size: 1}, alu(bpf.ALUOpAnd, 0xf0))
	g.when(bpf.JumpEqual, 0x40, "ipv4")
	g.when(bpf.JumpEqual, 0x60, "ipv6")
	g.jump("drop")
}

var tagTypes = []uint32{0x8100, 0x88a8, 0x9100}

// vlan skips up to two tags in the packet. A cooked packet that this host sends has
// its network header behind the tags, whatever the protocol says.
func (g *generator) vlan() {
	g.whenTag("tag1")
	g.jump("proto")
	g.label("tag1")
	if g.link == Network {
		g.do(ext(bpf.ExtType))
		g.when(bpf.JumpNotEqual, outgoing, "in band")
		g.version()
		g.label("in band")
	}
	first := g.link.base()
	g.do(imm(4), store(mTag), bpf.LoadAbsolute{Off: first + 2, Size: 2})
	g.whenTag("tag2")
	g.jump("proto")
	g.label("tag2")
	g.do(imm(8), store(mTag), bpf.LoadAbsolute{Off: first + 6, Size: 2})
}

func (g *generator) whenTag(to string) {
	for _, t := range tagTypes {
		g.when(bpf.JumpEqual, t, to)
	}
}

// vlanIDs wants one of the tags: that beside the packet, or one in it.
func (g *generator) vlanIDs() {
	g.do(store(mTemp), ext(bpf.ExtVLANTagPresent))
	g.when(bpf.JumpEqual, 0, "in band")
	g.do(ext(bpf.ExtVLANTag))
	g.whenID("beside")
	g.label("in band")
	g.do(load(mTemp))
	g.whenTag("tag1")
	g.jump("drop")
	g.label("tag1")
	first := g.link.base()
	if g.link == Network { // the tag of what this host sends is not to be seen
		g.do(ext(bpf.ExtType))
		g.when(bpf.JumpEqual, outgoing, "drop")
	}
	g.do(bpf.LoadAbsolute{Off: first, Size: 2})
	g.whenID("ours")
	g.label("ours")
	g.do(imm(4), store(mTag), bpf.LoadAbsolute{Off: first + 2, Size: 2})
	g.jump("proto")
	g.label("beside")
	g.do(load(mTemp))
}

// whenID goes on if the tag is wanted.
func (g *generator) whenID(to string) {
	g.do(alu(bpf.ALUOpAnd, 0xfff))
	for _, id := range g.cfg.VLANIDs {
		g.when(bpf.JumpEqual, uint32(id), to)
	}
	g.jump("drop")
}

// ipv4 sets what tcp needs from an IPv4 header.
func (g *generator) ipv4() {
	g.label("ipv4")
	if !g.cfg.anyOf(false) {
		g.jump("drop")
		return
	}
	g.do(imm(0), store(mSix), store(mEnd), loadX(mTag), g.at(9, 1))
	g.when(bpf.JumpNotEqual, 6, "drop")
	g.do(imm(12), aluX(bpf.ALUOpAdd), store(mSrc), alu(bpf.ALUOpAdd, 4), store(mDst))
	g.do(g.at(16, 4)) // the header has to be there as far as it is fixed
	g.do(g.at(6, 2))
	g.when(bpf.JumpBitsSet, 0x1fff, "fragment")
	g.when(bpf.JumpBitsSet, 0x2000, "ipv4 header") // more fragments: this is not its end
	g.do(g.at(2, 2))
	g.when(bpf.JumpEqual, 0, "ipv4 header")
	g.do(aluX(bpf.ALUOpAdd), store(mEnd))
	g.label("ipv4 header")
	g.do(g.at(0, 1), alu(bpf.ALUOpAnd, 0xf), alu(bpf.ALUOpShiftLeft, 2), aluX(bpf.ALUOpAdd), store(mTCP))
	g.jump("tcp")
}

// maxExtensions is how many extension headers of IPv6 are skipped.
const maxExtensions = 2

// ipv6 does so from an IPv6 header and the extension headers.
func (g *generator) ipv6() {
	g.label("ipv6")
	if !g.cfg.anyOf(true) {
		g.jump("drop")
	} else {
		g.do(imm(1), store(mSix), loadX(mTag))
		g.do(imm(8), aluX(bpf.ALUOpAdd), store(mSrc), alu(bpf.ALUOpAdd, 16), store(mDst), alu(bpf.ALUOpAdd, 16), store(mTCP))
		g.do(g.at(36, 4), g.at(4, 2))
		g.when(bpf.JumpEqual, 0, "ipv6 length") // jumbo
		g.do(alu(bpf.ALUOpAdd, 40), aluX(bpf.ALUOpAdd))
		g.label("ipv6 length")
		g.do(store(mEnd), g.at(6, 1))
		for i := range maxExtensions {
			g.extension(fmt.Sprint("extension ", i))
		}
		g.when(bpf.JumpEqual, 6, "tcp")
		g.jump("drop")
		g.label("ipv6 fragment")
		g.do(g.at(0, 1))
		g.when(bpf.JumpNotEqual, 6, "drop")
	}
	g.fragment()
}

// extension skips the extension header whose number is in A, and leaves the next number there.
func (g *generator) extension(name string) {
	g.when(bpf.JumpEqual, 6, "tcp")
	g.do(loadX(mTCP))
	for _, number := range []uint32{0, 43, 60} {
		g.when(bpf.JumpEqual, number, name)
	}
	g.when(bpf.JumpNotEqual, 44, "drop")
	g.do(g.at(2, 2))
	g.when(bpf.JumpBitsSet, 0xfff8, "ipv6 fragment")
	g.do(imm(0), store(mEnd), imm(8))
	g.jump(name + " length")
	g.label(name)
	g.do(g.at(1, 1), alu(bpf.ALUOpAdd, 1), alu(bpf.ALUOpShiftLeft, 3))
	g.label(name + " length")
	g.do(aluX(bpf.ALUOpAdd), store(mTCP), g.at(0, 1))
}

// fragment lets a later fragment through if an end is a host.
func (g *generator) fragment() {
	g.label("fragment")
	g.host(mDst, "whole", "not to host")
	g.label("not to host")
	if g.cfg.Responses != NoResponses {
		g.host(mSrc, "whole", "drop")
		return
	}
	g.jump("drop")
}

// host goes to yes if an address is a server's, else to no.
func (g *generator) host(address int, yes, no string) {
	if len(g.cfg.Hosts) == 0 {
		g.jump(yes)
		return
	}
	g.blocks++
	six := fmt.Sprint("host six ", g.blocks)
	g.do(load(mSix), loadX(address))
	g.when(bpf.JumpNotEqual, 0, six)
	if g.cfg.anyOf(false) {
		g.do(g.at(0, 4))
		for _, h := range g.cfg.Hosts {
			if h.Is4() {
				g.when(bpf.JumpEqual, binary.BigEndian.Uint32(h.AsSlice()), yes)
			}
		}
	}
	g.jump(no)
	g.label(six)
	for i, h := range g.cfg.Hosts {
		if h.Is4() {
			continue
		}
		b, next := h.AsSlice(), fmt.Sprint(six, " not ", i)
		for at := 0; at < len(b); at += 4 {
			g.do(g.at(uint32(at), 4))
			g.when(bpf.JumpNotEqual, binary.BigEndian.Uint32(b[at:]), next)
		}
		g.jump(yes)
		g.label(next)
	}
	g.jump(no)
}

// tcp drops what has neither payload nor a flag that matters.
func (g *generator) tcp() {
	g.label("tcp")
	g.do(loadX(mTCP), g.at(0, 2), store(mSport), g.at(2, 2), store(mDport))
	g.do(g.at(12, 1), alu(bpf.ALUOpAnd, 0xf0), alu(bpf.ALUOpShiftRight, 2), aluX(bpf.ALUOpAdd), store(mTemp))
	g.do(g.at(13, 1))
	g.when(bpf.JumpBitsSet, 7, "ends")
	g.do(loadX(mTemp), load(mEnd))
	g.when(bpf.JumpEqual, 0, "ends")
	g.whenX(bpf.JumpEqual, "drop")
	g.label("ends")
}

// ends lets through what goes to a server or, if wanted, comes from one.
func (g *generator) ends() {
	g.end(mDport, mDst, "to server", "not to server")
	g.label("to server")
	g.jump("whole")
	g.label("not to server")
	if g.cfg.Responses == NoResponses {
		g.jump("drop")
		return
	}
	g.end(mSport, mSrc, "whole", "drop")
}

// direction finds out who is the client, and what is kept of the packet.
func (g *generator) direction() {
	g.do(imm(0), store(mTemp))
	g.end(mDport, mDst, "to server", "not to server")
	g.label("to server")
	g.do(imm(1), store(mTemp))
	g.label("not to server")
	g.end(mSport, mSrc, "from server", "not from server")
	g.label("not from server")
	g.do(load(mTemp))
	g.when(bpf.JumpEqual, 0, "drop")
	g.do(imm(g.cfg.Snaplen), store(mKeep), load(mSport), store(mPort), load(mSrc), store(mClient))
	g.jump("client")
	g.label("from server")
	g.do(load(mTemp))
	g.when(bpf.JumpNotEqual, 0, "whole") // both ends are servers': who knows
	keep := g.cfg.Snaplen
	switch g.cfg.Responses {
	case NoResponses:
		g.jump("drop")
	case ResponseHeads:
		keep = g.cfg.Head
	}
	g.do(imm(keep), store(mKeep), load(mDport), store(mPort), load(mDst), store(mClient))
	g.label("client")
}

// end goes on at yes if the port and the address may be a server's, else at no.
func (g *generator) end(port, address int, yes, no string) {
	if len(g.ranges) > 0 {
		in := fmt.Sprint("port ", yes, port)
		g.do(load(port))
		for i, r := range g.ranges {
			if r.From == r.To {
				g.when(bpf.JumpEqual, uint32(r.From), in)
				continue
			}
			beyond := fmt.Sprint(in, i)
			g.when(bpf.JumpGreaterThan, uint32(r.To), beyond)
			g.when(bpf.JumpGreaterOrEqual, uint32(r.From), in)
			g.label(beyond)
		}
		g.jump(no)
		g.label(in)
	}
	g.host(address, yes, no)
}

// samples drops what is not in all of the samples. The words of the address are
// taken apart once; one that is IPv4 in IPv6's clothes is IPv4.
func (g *generator) samples() {
	g.do(loadX(mClient), g.at(0, 4), store(mWord3), load(mSix))
	g.when(bpf.JumpEqual, 0, "hash")
	for i := range uint32(4) {
		g.do(g.at(4*i, 4), store(mWord0+int(i)))
	}
	g.do(load(mWord0), loadX(mWord1), aluX(bpf.ALUOpOr))
	g.when(bpf.JumpNotEqual, 0, "hash six")
	g.do(load(mWord2))
	g.when(bpf.JumpNotEqual, 0xffff, "hash six")
	g.label("hash")
	g.hashes(mWord3)
	g.jump("sampled")
	g.label("hash six")
	g.hashes(mWord0)
	g.label("sampled")
	g.do(load(mKeep), bpf.RetA{})
}

// hashes computes the samples' hashes, of the address's words from the first on. See
// kagami.Salt, with which it has to agree.
func (g *generator) hashes(first int) {
	for _, s := range g.cfg.Samples {
		t := s.Share.Threshold()
		if t >= 1<<32 {
			continue
		}
		g.do(imm(uint32(s.Salt)))
		for m := first; m <= mWord3; m++ {
			g.absorb(m)
		}
		if s.By == ByConnection {
			g.absorb(mPort)
		}
		g.shift(16)
		g.do(alu(bpf.ALUOpMul, 0x7feb352d))
		g.shift(15)
		g.do(alu(bpf.ALUOpMul, 0x846ca68b))
		g.shift(16)
		g.when(bpf.JumpGreaterOrEqual, uint32(t), "drop")
	}
}

func (g *generator) absorb(m int) {
	g.do(loadX(m), aluX(bpf.ALUOpXor), alu(bpf.ALUOpMul, 0x9E3779B1))
	g.shift(15)
}

// shift is h ^= h >> n.
func (g *generator) shift(n uint32) {
	g.do(bpf.TAX{}, alu(bpf.ALUOpShiftRight, n), aluX(bpf.ALUOpXor))
}
