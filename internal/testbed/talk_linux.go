package testbed

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// Service answers "pong" to every "ping…\n" until the test ends.
func Service(t testing.TB, ns Netns, addr string) (port uint16) {
	t.Helper()
	var l net.Listener
	ns.Do(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if b[n-1] == '\n' {
						c.Write([]byte("pong\n"))
					}
				}
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// Ask sends each request on one connection and waits for its answer.
func Ask(t testing.TB, ns Netns, addr string, port uint16, requests ...string) {
	t.Helper()
	var c net.Conn
	ns.Do(t, func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 10*time.Second)
		return err
	})
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, 5)
	for _, r := range requests {
		if _, err := io.WriteString(c, r); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
}

// Pings are n different requests for Ask.
func Pings(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("ping %d\n", i))
	}
	return all
}
