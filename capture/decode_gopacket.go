package capture

import (
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"kagami"
)

// otherLink decodes what has a link-layer header that this package knows nothing
// of, as far as gopacket does (FDDI, OpenBSD's pflog, …): it finds the IP header, and
// from there on the way is ours again. It allocates; these are not the links of
// a production host.
func (d *decoder) otherLink(link uint16, b []byte, wire int, s *segment) kagami.Reason {
	if link > 255 { // gopacket's LinkType has 8 bits
		return kagami.NotTCP
	}
	// Lazy: nothing behind the IP header is decoded. NoCopy: layers are parts of b.
	p := gopacket.NewPacket(b, layers.LinkType(link), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	ip := p.NetworkLayer()
	if ip == nil {
		return kagami.NotTCP
	}
	header := ip.LayerContents()
	if t := ip.LayerType(); t != layers.LayerTypeIPv4 && t != layers.LayerTypeIPv6 || len(header) == 0 {
		return kagami.NotTCP
	}
	at := cap(b) - cap(header) // where the header begins in b
	if at < 0 || at >= len(b) || &b[at] != &header[0] {
		return kagami.NotTCP
	}
	return d.ip(b[at:], wire-at, s)
}
