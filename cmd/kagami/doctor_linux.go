package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kagami/capture/live"
	"kagami/capture/ring"
)

// examineRaw looks at what capturing needs.
func examineRaw(in *InputConfig) []finding {
	raw := in.Raw
	switch {
	case raw.Engine == enginePcapFile:
		f, err := os.Open(raw.Host)
		if err != nil {
			return []finding{{missing, "packet file", err.Error(), ""}}
		}
		f.Close()
		return []finding{{fine, "packet file", raw.Host + " can be read", ""}}
	case raw.mirrored():
		return []finding{examineReceiveBuffer(raw)}
	}
	capability := examineCapability()
	all := []finding{capability}
	names, _, err := interfaces(raw)
	if err != nil {
		return append(all, finding{missing, "interface", err.Error(), "name one of them, as in --input-raw eth0:80, or none for all"})
	}
	for _, name := range names {
		f := examineInterface(name)
		if all = append(all, f); f.verdict != missing && name != ring.Any {
			all = append(all, examineOffload(name)...)
		}
	}
	return append(all, examineEngine(raw, capability.verdict == fine))
}

// examineCapability tries whether this process may open a capture socket, and says why not.
func examineCapability() finding {
	f := finding{what: "capability"}
	err := withNetRaw(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	if err == nil {
		f.verdict, f.says = fine, "NET_RAW: this process may capture"
		return f
	}
	f.verdict = missing
	if !errors.Is(err, fs.ErrPermission) {
		f.says = fmt.Sprintf("the kernel gives no packet socket: %v", err)
		f.fix = "a kernel with CONFIG_PACKET; in a sandbox (gVisor) capture outside of it"
		return f
	}
	program, perr := os.Executable()
	if perr != nil {
		program = "kagami"
	}
	bounded, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_NET_RAW, 0, 0, 0)
	noNew, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	switch {
	case bounded == 0:
		f.says = "NET_RAW is out of reach for every process here, root's too"
		f.fix = "docker run --cap-add NET_RAW …; in Kubernetes securityContext.capabilities.add: [NET_RAW]; in a systemd unit CapabilityBoundingSet=CAP_NET_RAW"
	case noNew == 1:
		f.says = "this process may not capture, and no_new_privs keeps it from getting the right from its file"
		f.fix = "allow privilege escalation (--security-opt no-new-privileges=false), or in a systemd unit AmbientCapabilities=CAP_NET_RAW"
	default:
		f.says = "this process may not capture: the capability NET_RAW is missing"
		f.fix = "sudo setcap cap_net_raw+p " + program
	}
	return f
}

// examineInterface looks whether an interface is there and up.
func examineInterface(name string) finding {
	f := finding{what: "interface"}
	if name == ring.Any {
		all, err := net.Interfaces()
		up := slices.DeleteFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagUp == 0 })
		if err != nil || len(up) == 0 {
			return finding{missing, f.what, "no interface is up", "sudo ip link set lo up"}
		}
		var names []string
		for _, i := range up {
			names = append(names, i.Name)
		}
		return finding{fine, f.what, "any: " + strings.Join(names, ", "), ""}
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		all, _ := net.Interfaces()
		var names []string
		for _, i := range all {
			names = append(names, i.Name)
		}
		return finding{missing, f.what, fmt.Sprintf("%s does not exist; there are %s", name, strings.Join(names, ", ")), "name one of them; is this the network namespace of the server?"}
	}
	if i.Flags&net.FlagUp == 0 {
		return finding{missing, f.what, name + " is down", "sudo ip link set " + name + " up"}
	}
	return finding{fine, f.what, name + " is up", ""}
}

// examineOffload looks whether the interface joins packets on their way in: captured are
// then a few large ones in place of many small ones.
func examineOffload(name string) []finding {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	on, err := groOf(fd, name)
	switch {
	case err != nil: // it has nothing to do with it, as lo
		return nil
	case !on:
		return []finding{{unwell, "offloads", name + ": generic receive offload (GRO) is off: every packet is handled by itself, which costs CPU time",
			"sudo ethtool -K " + name + " gro on"}}
	}
	return []finding{{fine, "offloads", name + ": generic receive offload (GRO) is on", ""}}
}

// examineEngine opens what would read the packets, and closes it again.
func examineEngine(raw RawConfig, allowed bool) finding {
	f := finding{what: "engine"}
	if special := onlyPcap(raw); raw.Engine == engineLibpcap || special != "" {
		if _, err := live.Devices(); err != nil {
			f.verdict, f.says = missing, fmt.Sprintf("libpcap, which %s needs: %v", firstOf(special, "--input-raw-engine libpcap"), err)
			f.fix = "make build, or the image kagami:libpcap, has it; or leave the flag out"
			return f
		}
		return finding{fine, f.what, "libpcap is built in", ""}
	}
	if !allowed {
		return finding{unwell, f.what, "af_packet: whether the kernel has TPACKET_V3 is seen with the right to capture", ""}
	}
	var s io.Closer
	err := withNetRaw(func() error {
		r, err := ring.Open(ring.Config{Interface: "lo", BufferSize: 1 << 20})
		if err == nil {
			s = r
		}
		return err
	})
	if err != nil {
		f.verdict, f.says = missing, fmt.Sprintf("af_packet: %v", err)
		f.fix = "a kernel with TPACKET_V3 (Linux 3.2 or later); or --input-raw-engine libpcap, with the build that has it"
		return f
	}
	s.Close()
	return finding{fine, f.what, "af_packet: the kernel has TPACKET_V3", ""}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// examineReceiveBuffer looks how large the kernel lets a socket's buffer be, for mirrored traffic.
func examineReceiveBuffer(raw RawConfig) finding {
	f := finding{what: "buffer"}
	b, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	most, perr := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || perr != nil || most >= raw.BufferSize {
		return finding{fine, f.what, "the kernel gives a socket the buffer that is asked for", ""}
	}
	return finding{unwell, f.what, fmt.Sprintf("the kernel gives a socket %d bytes, and %d are asked for: bursts may be lost", most, raw.BufferSize),
		fmt.Sprintf("sudo sysctl -w net.core.rmem_max=%d", raw.BufferSize)}
}

// examineHost looks at what every process needs: its clock, memory and files.
func examineHost(cfg *Config) []finding {
	return []finding{examineClock(), examineMemory(cfg, cgroupMemory("/")), examineFiles(cfg)}
}

// examineClock asks the kernel whether somebody keeps the clock right (adjtimex(2)).
func examineClock() finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return finding{unwell, "clock", fmt.Sprintf("whether it is right cannot be told: %v", err), ""}
	}
	return clockFinding(state, &t)
}

func clockFinding(state int, t *unix.Timex) finding {
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return finding{unwell, "clock", "nobody keeps it right: recordings from several hosts will not fit together", "sudo timedatectl set-ntp true"}
	}
	return finding{fine, "clock", "it is synchronised", ""}
}

// leastMemory is what a listener needs, in bytes.
const leastMemory = 48 << 20

// examineMemory compares what the process may have with what it wants. limit is the container's; 0 is none.
func examineMemory(cfg *Config, limit int64) finding {
	usable := limit - limit/10
	want := cfg.MemoryLimit
	switch {
	case limit > 0 && usable < leastMemory:
		return finding{missing, "memory", fmt.Sprintf("the control group may have %d MiB: less than it takes", limit>>20), "docker run --memory 96m …; in Kubernetes resources.limits.memory: 96Mi"}
	case limit > 0 && (want == 0 || usable < want):
		return finding{unwell, "memory", fmt.Sprintf("the control group may have %d MiB: --memory-limit will be %d", limit>>20, usable>>20),
			fmt.Sprintf("docker run --memory %dm …, or --memory-limit %dmb", want*10/9>>20+1, usable>>20)}
	case want == 0:
		return finding{unwell, "memory", "there is no --memory-limit: in a flood the process takes what it can get", "--memory-limit 64mb"}
	}
	return finding{fine, "memory", fmt.Sprintf("the process stays below %d MiB", want>>20), ""}
}

// examineFiles compares how many files and sockets the process may have open with how many it may want.
func examineFiles(cfg *Config) finding {
	want := uint64(64)
	for _, out := range cfg.Outputs {
		if out.Kind == OutputHTTP {
			want += uint64(out.HTTP.Workers)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding{unwell, "open files", err.Error(), ""}
	}
	return filesFinding(want, limit.Max)
}

func filesFinding(want, may uint64) finding {
	if may < want {
		return finding{missing, "open files", fmt.Sprintf("the process may have %d, and wants up to %d", may, want),
			fmt.Sprintf("ulimit -Hn %d; in a systemd unit LimitNOFILE=%d; docker run --ulimit nofile=%d …; or fewer --output-http-workers", want, want, want)}
	}
	return finding{fine, "open files", fmt.Sprintf("up to %d are wanted, and more are allowed", want), ""}
}
