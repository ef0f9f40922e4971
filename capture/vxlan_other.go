//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// datagrams reads a UDP socket, a datagram at a time.
type datagrams struct {
	conn   *net.UDPConn
	buffer []byte
	n      int
	now    time.Time
}

// newDatagrams returns a reader of c, to which it gives a buffer of that size. The
// warning says what could not be had.
func newDatagrams(c *net.UDPConn, size int) (d *datagrams, warning string, err error) {
	if err := c.SetReadBuffer(size); err != nil {
		warning = fmt.Sprintf("the kernel's buffer does not have %d KiB: %v", size>>10, err)
	}
	return &datagrams{conn: c, buffer: make([]byte, datagramSize)}, warning, nil
}

// wait waits for a datagram and reads it. After a deadline it returns
// os.ErrDeadlineExceeded, whether there is one or not.
func (d *datagrams) wait() (n int, err error) {
	if d.n, _, err = d.conn.ReadFromUDPAddrPort(d.buffer); err != nil {
		return 0, err
	}
	d.now = time.Now()
	return 1, nil
}

// poll reads the datagram that is there, if any.
func (d *datagrams) poll() (n int, err error) {
	d.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // there is no asking without waiting
	if n, err = d.wait(); errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	return n, err
}

// datagram returns the one that was read last, its length, and when it was read.
func (d *datagrams) datagram(int) (b []byte, wire int, at time.Time) {
	return d.buffer[:d.n:d.n], d.n, d.now
}

// dropped returns 0: there is no portable way to know.
func (d *datagrams) dropped() (uint32, error) { return 0, nil }

// waiting returns how many datagrams there are to read, at most.
func (d *datagrams) waiting() int { return manyDatagrams }
