// Package capture turns packets into HTTP messages.
//
// Packets come from a [Source]: a capture file ([OpenFile]: pcap and pcapng, gzip-compressed
// or not), or a network interface (packages capture/ring, and capture/live, which needs libpcap). A [Listener]
// takes them from any number of sources, puts the TCP connections in them together again, finds
// the HTTP messages in those, and hands the messages on in batches:
//
//	f, err := capture.OpenFile("traffic.pcapng")
//	…
//	l, err := capture.New(capture.Config{Ports: []uint16{8080}, Wait: true}, f)
//	…
//	err = l.Run(ctx, func(ctx context.Context, b kagami.Batch) error { … })
//
// On the way down to TCP it understands Ethernet with VLAN tags, Linux's cooked headers, raw
// IP, PPP, 802.11 and more; IPv4 and IPv6 with options, extension headers, fragments and
// packets larger than 64 KiB; and tunnels: GRE, ERSPAN, VXLAN, Geneve, GTP, IP in
// IP, MPLS, PPPoE, L2TP. What is in a tunnel counts with its inner addresses.
//
// What is spoken is HTTP/1.x, HTTP/2 in clear (with prior knowledge, after an upgrade, or joined in
// its middle as far as HPACK allows), and WebSocket after a 101: each frame is a message
// of its own, as it was sent.
//
// The package neither sends anything nor decrypts TLS, and it does not verify
// checksums, for a host sees the packets that it sends before they have any. All that it
// remembers is bounded.
package capture
