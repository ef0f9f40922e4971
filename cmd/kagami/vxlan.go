package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kagami/capture"
)

// newVXLAN receives what others mirror to this host. The servers are others', so
// that any address is captured, and a target on this host is none of them.
func (m *mirror) newVXLAN(cfg InputConfig, cc capture.Config) (input, error) {
	raw := cfg.Raw
	vc := capture.VXLANConfig{Address: raw.vxlanAddress(), Geneve: raw.Engine == engineGeneve, BufferSize: raw.BufferSize}
	for _, vni := range raw.VNIs {
		if vni < 0 {
			vc.ExceptVNIs = append(vc.ExceptVNIs, uint32(-vni))
		} else {
			vc.VNIs = append(vc.VNIs, uint32(vni))
		}
	}
	v, err := capture.OpenVXLAN(vc)
	if err != nil {
		return nil, fmt.Errorf("--input-raw %s: %w", cfg.Address, err)
	}
	l, err := capture.New(cc, v)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--input-raw %s: %w", cfg.Address, err), v.Close())
	}
	if w := v.Warning(); w != "" {
		m.log.Warn(w, raw.Engine, v.Addr().String())
	}
	m.log.Info("capturing", raw.Engine, v.Addr().String(), "ports", raw.Ports, "responses", raw.TrackResponse)
	m.shedders = append(m.shedders, shedder{listener: l}) // the kernel could not leave packets out without counting them as lost
	m.quiet = append(m.quiet, quietInput{in: l, why: func() string { return explainVXLAN(l.Diagnosis(), v.Excluded(), raw) }})
	return l, nil
}

// mirrored reports whether others mirror packets to this host by UDP: in VXLAN, or in Geneve.
func (c *RawConfig) mirrored() bool { return c.Engine == engineVXLAN || c.Engine == engineGeneve }

// atInterfaces reports whether packets are captured at this host's own interfaces, through a
// filter and a buffer of the kernel's.
func (c *RawConfig) atInterfaces() bool { return c.Engine != enginePcapFile && !c.mirrored() }

// protocol is what mirrored packets are in.
func (c *RawConfig) protocol() string {
	if c.Engine == engineGeneve {
		return "Geneve"
	}
	return "VXLAN"
}

// vxlanPort is the port of the protocol that the engine receives.
func (c *RawConfig) vxlanPort() int {
	if c.Engine == engineGeneve {
		return capture.DefaultGenevePort
	}
	return capture.DefaultVXLANPort
}

// vxlanAddress is where they are received.
func (c *RawConfig) vxlanAddress() string {
	host := c.Host
	if host == "any" {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(c.VXLANPort))
}

// explainVXLAN is explainCapture for what is mirrored to this host.
func explainVXLAN(d capture.Diagnosis, excluded uint64, raw RawConfig) string {
	switch {
	case d.Packets == 0 && excluded > 0:
		return fmt.Sprintf("%d packets came, none of a VNI that --input-raw-vxlan-vni lets in", excluded)
	case d.Packets == 0:
		return fmt.Sprintf("nothing came to UDP port %d: does the mirror send to this host and port, and does no firewall stand between?", raw.VXLANPort)
	case d.Segments == 0:
		return fmt.Sprintf("%d packets came to UDP port %d, and none is %s with TCP in it", d.Packets, raw.VXLANPort, raw.protocol())
	case d.SYNs == 0 && d.BytesToServer == 0 && d.BytesToClient == 0 && len(d.Ports) > 0:
		return fmt.Sprintf("of what is mirrored here nothing is for port %s: there is TCP for port %s", joinPorts(raw.Ports), joinPorts(busiest(d.Ports, 5)))
	}
	return explainCapture(d, raw)
}

// busiest returns the n ports with the most segments, the first with most.
func busiest(ports map[uint16]uint64, n int) []uint16 {
	list := slices.SortedFunc(maps.Keys(ports), func(a, b uint16) int {
		return cmp.Or(-cmp.Compare(ports[a], ports[b]), cmp.Compare(a, b))
	})
	return list[:min(n, len(list))]
}

// checkVXLAN checks a raw input whose engine is vxlan or geneve: what chooses packets in
// another way than by VNI and port cannot be had.
func checkVXLAN(c *RawConfig) error {
	instead := " is for interfaces: with --input-raw-engine " + c.Engine + ", choose by port and by --input-raw-vxlan-vni"
	switch {
	case c.BPFFilter != "":
		return errors.New("--input-raw-bpf-filter" + instead)
	case len(c.VLANIDs) > 0:
		return errors.New("--input-raw-vlan-vid" + instead)
	case c.Host == "" || c.Host == "any":
		return nil
	}
	if _, err := netip.ParseAddr(c.Host); err != nil {
		return fmt.Errorf("%s is not an IP address: with --input-raw-engine %s, what stands before the port is this host's address "+
			"that the mirror sends to, or nothing for any", quoteIfOdd(c.Host), c.Engine)
	}
	return nil
}

// checkVXLANOnce refuses inputs that would receive at the same port.
func checkVXLANOnce(inputs []InputConfig) error {
	seen := map[string]string{}
	for _, in := range inputs {
		if in.Kind != InputRaw || !in.Raw.mirrored() {
			continue
		}
		at := in.Raw.vxlanAddress()
		if other, twice := seen[at]; twice {
			return usagef("--input-raw %s and %s both receive %s at %s: make them one with all ports, as in :80,8080, "+
				"or let each have a vxlan-port of its own, in the file of --config", other, in.Address, in.Raw.protocol(), at)
		}
		seen[at] = in.Address
	}
	return nil
}

// idleVXLAN says which settings of a raw input have nothing to act on, with its
// engine. They are no error, for GoReplay takes them.
func idleVXLAN(in *InputConfig) []string {
	c, d := in.Raw, defaultInput(InputRaw).Raw
	idle := map[string]bool{
		"buffer-timeout":   c.BufferTimeout != d.BufferTimeout,
		"ignore-interface": len(c.IgnoreInterfaces) > 0,
		"monitor":          c.Monitor,
		"promisc":          c.Promiscuous,
		"timestamp-type":   c.TimestampType != "",
		"vlan":             c.VLAN,
	}
	why := "with"
	engine := c.Engine
	if !c.mirrored() {
		idle = map[string]bool{"vxlan-port": c.VXLANPort != c.vxlanPort(), "vxlan-vni": len(c.VNIs) > 0}
		why, engine = "without", engineVXLAN+" or "+engineGeneve
	}
	var notices []string
	for key, is := range idle {
		if is {
			notices = append(notices, fmt.Sprintf("--input-raw %s: --input-raw-%s changes nothing %s --input-raw-engine %s", in.Address, key, why, engine))
		}
	}
	slices.SortFunc(notices, cmp.Compare)
	return notices
}

// portValue is a port.
type portValue struct{ p *int }

func (v portValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want a port, 1 to 65535")
	}
	*v.p = int(n)
	return nil
}

func (v portValue) String() string {
	if *v.p == 0 { // as the engine says
		return ""
	}
	return strconv.Itoa(*v.p)
}

// vniValue is a virtual network's number, or with a minus one that is left out.
type vniValue struct{ p *[]int }

func (v vniValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < -capture.MaxVNI || n > capture.MaxVNI || s == "-0" {
		return fmt.Errorf("want the number of a virtual network, 0 to %d, or -1 to -%[1]d to leave that one out", capture.MaxVNI)
	}
	*v.p = append(*v.p, n)
	return nil
}

func (v vniValue) String() string {
	vnis := make([]string, len(*v.p))
	for i, n := range *v.p {
		vnis[i] = strconv.Itoa(n)
	}
	return strings.Join(vnis, "\n")
}
func (v vniValue) clear() { *v.p = nil }
