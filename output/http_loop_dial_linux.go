package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kagami"
)

// dial begins to connect c: without waiting, where an address is at hand and
// the target is well, else with a goroutine that looks it up and tries all addresses.
func (l *httpLoop) dial(c *httpConn) {
	s := &c.loop
	now := time.Now()
	a, n := l.h.resolver.fresh(now)
	if n == 0 || a.Addr().Zone() != "" || l.h.pool.isDown() {
		l.dialSlowly(c)
		return
	}
	fd, err := beginConnect(a)
	if err == nil {
		err = l.adopt(c, fd, a)
	}
	if err != nil {
		l.dialSlowly(c)
		return
	}
	s.others = n > 1
	s.state, s.deadline = loopDialing, now.Add(l.h.cfg.Timeout/time.Duration(n))
	if c.busy && c.deadline.Before(s.deadline) {
		s.deadline = c.deadline
	}
	l.watchDeadline(c)
}

// adopt makes fd the socket of c, also if there is an error.
func (l *httpLoop) adopt(c *httpConn, fd int, a netip.AddrPort) error {
	c.loop.fd, c.loop.local, c.addr, c.used = fd, netip.AddrPort{}, a, false
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     c.loop.slot,
		Pad:    c.loop.turn,
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev))
}

// beginConnect returns a socket that is being connected.
func beginConnect(a netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	var sa unix.Sockaddr
	if a.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	} else {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dialSlowly connects c in a goroutine.
func (l *httpLoop) dialSlowly(c *httpConn) {
	l.hangUp(c)
	c.loop.state = loopDialer
	ctx, cancel := l.h.ctx, context.CancelFunc(func() {})
	if c.busy {
		ctx, cancel = context.WithDeadline(c.job.ctx, c.deadline)
	}
	go func() { // it ends before h.wg does
		defer cancel()
		nc, a, err := l.h.dialer.connect(ctx)
		fd := -1
		if err == nil {
			fd, err = detach(nc)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			err = l.adopt(c, fd, a)
		}
		l.dialed(c, err)
		l.drain()
	}()
}

// detach takes the socket out of a connection, which is closed.
func detach(nc net.Conn) (fd int, err error) {
	defer nc.Close()
	raw := rawConn(nc)
	if raw == nil {
		return -1, errors.New("the connection has no socket")
	}
	cerr := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if cerr != nil {
		return -1, cerr
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// dialed goes on when c is connected, or could not be.
func (l *httpLoop) dialed(c *httpConn, err error) {
	h := l.h
	if err != nil {
		l.hangUp(c)
		h.counters.unconnected.Add(1)
	} else {
		h.counters.connected.Add(1)
	}
	switch {
	case !c.busy:
		h.notify(err, func() bool { return h.pool.dialed(c, err == nil) })
		if err != nil {
			l.end(c)
			return
		}
		l.advance(c, loopKeep)
	default:
		if err == nil || c.job.ctx.Err() == nil {
			h.notify(err, func() bool { return h.pool.reached(err == nil) })
		}
		if err != nil {
			l.advance(c, l.finish(c, c.givenUp(kagami.SendError), false))
			return
		}
		l.advance(c, l.exchange(c))
	}
}

// timeOut gives up what c waits for: its deadline is over.
func (l *httpLoop) timeOut(c *httpConn) {
	switch {
	case c.loop.state == loopExchange:
		l.advance(c, l.finish(c, c.givenUp(kagami.Timeout), false))
	case c.loop.others && !(c.busy && c.loop.deadline.Equal(c.deadline)):
		l.dialSlowly(c)
	default:
		l.h.resolver.unreachable()
		l.dialed(c, fmt.Errorf("connect to %s: %w", l.h.target, os.ErrDeadlineExceeded))
	}
}

// hangUp closes c's socket.
func (l *httpLoop) hangUp(c *httpConn) {
	s := &c.loop
	if s.fd >= 0 {
		unix.Close(s.fd) // which takes it out of the epoll instance too
	}
	s.fd, s.pending, s.hungry, s.rest, s.sendErr = -1, false, false, [2][]byte{}, nil
	s.turn++
}
