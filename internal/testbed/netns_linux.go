package testbed

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

var namespaces atomic.Int64

// NeedNamespaces skips a test that needs to capture and to make interfaces.
func NeedNamespaces(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and packet capture")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip command of iproute2")
	}
}

// A Netns is a network namespace that lives as long as the test.
type Netns string

func NewNetns(t testing.TB) Netns {
	t.Helper()
	NeedNamespaces(t)
	ns := Netns(fmt.Sprintf("kagami-%d-%d", os.Getpid(), namespaces.Add(1)))
	IP(t, "netns", "add", string(ns))
	t.Cleanup(func() { exec.Command("ip", "netns", "del", string(ns)).Run() })
	ns.IP(t, "link", "set", "lo", "up")
	return ns
}

// IP runs an ip command inside.
func (ns Netns) IP(t testing.TB, args ...string) {
	t.Helper()
	IP(t, append([]string{"-n", string(ns)}, args...)...)
}

// Do calls f in the namespace. Sockets that it makes stay there.
func (ns Netns) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+string(ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The addresses at the two ends of a pair.
const (
	Here4, There4 = "10.99.0.1", "10.99.0.2"
	Here6, There6 = "fd99::1", "fd99::2"
)

// Pair returns two namespaces joined by a veth pair: "veth" in each.
func Pair(t testing.TB) (here, there Netns) {
	t.Helper()
	here, there = NewNetns(t), NewNetns(t)
	here.IP(t, "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", string(there))
	for ns, addrs := range map[Netns][]string{here: {Here4 + "/24", Here6 + "/64"}, there: {There4 + "/24", There6 + "/64"}} {
		for _, a := range addrs {
			args := []string{"addr", "add", a, "dev", "veth"}
			if len(a) > 4 && a[:4] == "fd99" {
				args = append(args, "nodad")
			}
			ns.IP(t, args...)
		}
		ns.IP(t, "link", "set", "veth", "up")
	}
	return here, there
}

// SetMaxSize lets the interface have packets of that size: BIG TCP, for both
// versions of IP. The ip command of today's distributions does not know all of it.
func (ns Netns) SetMaxSize(t testing.TB, device string, size uint32) (err error) {
	ns.Do(t, func() error {
		var i *net.Interface
		if i, err = net.InterfaceByName(device); err != nil {
			return nil
		}
		const gsoMaxSize, groMaxSize, gsoIPv4MaxSize, groIPv4MaxSize = 41, 58, 63, 64
		for _, attribute := range []uint16{gsoMaxSize, groMaxSize, gsoIPv4MaxSize, groIPv4MaxSize} {
			if err = setLink(i.Index, attribute, size); err != nil {
				return nil
			}
		}
		return nil
	})
	return err
}

// setLink sets an attribute of an interface (rtnetlink(7)).
func setLink(ifindex int, attribute uint16, value uint32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	order := binary.NativeEndian
	const size = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg + 8
	b := order.AppendUint32(nil, size)
	b = order.AppendUint16(b, unix.RTM_NEWLINK)
	b = order.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8+4)...) // sequence, port; family, type
	b = order.AppendUint32(b, uint32(ifindex))
	b = append(b, make([]byte, 8)...) // flags, change
	b = order.AppendUint16(b, 8)
	b = order.AppendUint16(b, attribute)
	b = order.AppendUint32(b, value)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if code := int32(order.Uint32(answer[unix.SizeofNlMsghdr:n])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// SendFrame sends a frame as it is.
func (ns Netns) SendFrame(t testing.TB, device string, frame []byte) {
	t.Helper()
	ns.Do(t, func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index, Halen: 6})
	})
}
