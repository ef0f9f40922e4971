package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	"kagami/capture"
)

// Between datagrams and outputs stand the filters of any capture, and nothing that
// asks whether servers are this host's.
func TestVXLANIsMirrored(t *testing.T) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	c := mirrorCatalog()
	cfg := resolveLayers(t, c, RoleListen, parseArgs(t, c, "input-raw", "127.0.0.1:80", "input-raw-engine", "vxlan",
		"input-raw-vxlan-port", strconv.Itoa(port), "input-raw-vxlan-vni", "7", "input-raw-realip-header", "X-Real-IP", "output-stdout", "true"))
	var stdout, log bytes.Buffer
	cfg.Console = Console{Stdout: &stdout, Stderr: &log, Log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	m, err := newMirror(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Ethernet, IPv4 10.9.0.2 to 10.9.0.1, TCP from 1000 to 80.
	frame, err := hex.DecodeString("0000000000000000000000000800" + "450000000000000040060000" + "0a0900020a090001" +
		"03e80050" + "0000006400000064" + "5018ffff00000000")
	if err != nil {
		t.Fatal(err)
	}
	const wanted, other = "GET /wanted HTTP/1.1\r\n\r\n", "GET /otherx HTTP/1.1\r\n\r\n"
	frame[17] = 40 + byte(len(wanted))
	conn, err := net.Dial("udp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for vni, request := range map[byte]string{7: wanted, 8: other} {
		conn.Write(append(append([]byte{8, 0, 0, 0, 0, 0, vni, 0}, frame...), request...))
	}
	cancel() // what has arrived is captured all the same
	if err := m.run(ctx); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	if got := stdout.String(); !strings.Contains(got, "GET /wanted HTTP/1.1\r\nX-Real-IP: 10.9.0.2\r\n\r\n") || strings.Contains(got, "other") {
		t.Errorf("recorded %q", got)
	}
}

// Why nothing came is said from the sight of a host that others mirror to.
func TestExplainVXLAN(t *testing.T) {
	raw := RawConfig{Ports: []uint16{80}, VXLANPort: 4789}
	for _, test := range []struct {
		name     string
		seen     capture.Diagnosis
		excluded uint64
		says     string
	}{
		{"nothing", capture.Diagnosis{}, 0, "nothing came to UDP port 4789"},
		{"other networks", capture.Diagnosis{}, 3, "3 packets came, none of a VNI"},
		{"garbage", capture.Diagnosis{Packets: 4}, 0, "none is VXLAN with TCP in it"},
		{"other ports", capture.Diagnosis{Packets: 9, Segments: 9, Ports: map[uint16]uint64{443: 2, 8080: 5, 22: 2}}, 0,
			"nothing is for port 80: there is TCP for port 8080, 22, 443"},
		{"TLS", capture.Diagnosis{Packets: 9, Segments: 9, SYNs: 1, TLS: 1, Ports: map[uint16]uint64{443: 2}}, 0, "encrypted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := explainVXLAN(test.seen, test.excluded, raw); !strings.Contains(got, test.says) {
				t.Errorf("got %q, want %q", got, test.says)
			}
		})
	}
}

// What has a filter and a buffer in the kernel, and what has not.
func TestAtInterfaces(t *testing.T) {
	for engine, want := range map[string]bool{engineAuto: true, engineRing: true, engineLibpcap: true,
		enginePcapFile: false, engineVXLAN: false, engineGeneve: false} {
		if got := (&RawConfig{Engine: engine}).atInterfaces(); got != want {
			t.Errorf("%s: %v, want %v", engine, got, want)
		}
	}
}
