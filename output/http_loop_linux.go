package output

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kagami"
)

const (
	loopRead   = 256 << 10 // of the buffer that all connections read into
	loopEvents = 256
	// loopFair is how often one connection is read before the others have their turn.
	loopFair = 16
	// harvestDelay is how much later than they come answers to live traffic are
	// read, at most, so that one wake-up reads many: if at least harvestFrom are
	// to come, and no request waits for a connection.
	harvestDelay = 4 * time.Millisecond
	harvestFrom  = 8
)

// An httpLoop serves all connections to a target that speaks clear text: one
// goroutine waits for all of them, and whoever holds the lock reads and writes,
// with sockets that never block. So a batch is written by the goroutine that
// brought it, and nothing is handed from one goroutine to another for each
// request.
//
// Lock order: httpLoop.mu, httpPool.mu. What is named with a small letter and
// has no lock of its own is called with mu held.
type httpLoop struct {
	h    *HTTP
	file *os.File // of the epoll instance, for Go's own poller to wait for
	raw  syscall.RawConn
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	epoll   int
	slots   []*httpConn // by number; nil is free
	free    []int32
	in      []byte
	out     []byte
	extra   bool        // the last recv threw away bytes that were not of the answer
	skipped bool        // the last recv threw away what it read
	roused  []*httpConn // scratch
	hungry  []*httpConn // those that have more to read
	ready   []*httpConn // those whose request may not be sent yet
	held    bool        // Before did not allow it: release is called by itself
	waited  bool        // it has been so since the last request was released
	under   int         // exchanges under way
	paced   int         // of them, those whose latency is to be exact
	timer   *time.Timer // for deadlines
	next    time.Time   // when it fires; zero if nothing waits
	closed  bool
}

func newHTTPLoop(h *HTTP) (*httpLoop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &httpLoop{h: h, epoll: fd, done: make(chan struct{}), file: os.NewFile(uintptr(fd), "epoll")}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, err
	}
	l.timer = time.AfterFunc(time.Hour, l.expire)
	l.timer.Stop()
	go l.run()
	return l, nil
}

// close ends the goroutine. There are no connections any more.
func (l *httpLoop) close() {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.timer.Stop()
	l.mu.Unlock()
	if !was {
		l.file.Close()
	}
	<-l.done
}

// run is the goroutine that reads what comes.
func (l *httpLoop) run() {
	defer close(l.done)
	events := make([]unix.EpollEvent, loopEvents)
	for {
		n, ok := l.wait(events)
		if !ok {
			return
		}
		l.mu.Lock()
		l.handle(events[:n])
		l.mu.Unlock()
	}
}

// wait waits for events. ok is false when the loop was closed.
func (l *httpLoop) wait(events []unix.EpollEvent) (n int, ok bool) {
	looked := false
	err := l.raw.Read(func(fd uintptr) bool {
		if looked {
			return true // woken: there are some
		}
		looked = true
		n = rawEvents(fd, events)
		return n > 0 || l.isHungry()
	})
	if err != nil {
		return 0, false
	}
	if n == 0 {
		if l.relaxed() {
			time.Sleep(harvestDelay)
		}
		err = l.raw.Control(func(fd uintptr) { n = rawEvents(fd, events) })
	}
	return n, err == nil
}

func (l *httpLoop) isHungry() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.hungry) > 0
}

// relaxed reports whether answers may be read a little later.
func (l *httpLoop) relaxed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.under >= harvestFrom && l.paced == 0 && len(l.hungry) == 0 && l.h.cfg.Answers == nil && l.h.pool.relaxed()
}

// handle takes events, and does what follows from them.
func (l *httpLoop) handle(events []unix.EpollEvent) {
	hungry := l.hungry
	l.hungry = nil
	for _, c := range hungry {
		if c.loop.hungry {
			c.loop.hungry = false
			l.event(c, unix.EPOLLIN)
		}
	}
	for i := range events {
		e := &events[i]
		if c := l.slots[e.Fd]; c != nil && c.loop.turn == e.Pad {
			l.event(c, e.Events)
		}
	}
	l.drain()
}

// work serves what the pool has roused.
func (l *httpLoop) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h.ctx.Err() != nil {
		l.giveUpDialing()
	}
	l.drain()
}

func (l *httpLoop) drain() {
	for {
		l.roused = l.h.pool.takeRoused(l.roused[:0])
		if len(l.roused) == 0 && !l.release() {
			return
		}
		for _, c := range l.roused {
			l.rouse(c)
		}
		clear(l.roused)
	}
}

// rouse serves a connection that is new, or was taken off the idle list.
func (l *httpLoop) rouse(c *httpConn) {
	switch {
	case c.loop.state == loopNew:
		l.add(c)
		l.dial(c)
	case c.busy:
		c.used = true // it may have been closed meanwhile
		l.advance(c, l.serve(c))
	default: // it was idle for too long
		l.advance(c, loopEnd)
	}
}

// add gives a connection a number.
func (l *httpLoop) add(c *httpConn) {
	c.loop.fd = -1
	if n := len(l.free); n > 0 {
		c.loop.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[c.loop.slot] = c
		return
	}
	c.loop.slot = int32(len(l.slots))
	l.slots = append(l.slots, c)
}

// A loopStep is what becomes of a connection.
type loopStep uint8

const (
	loopPending loopStep = iota // it waits for an event
	loopKeep                    // it can have another request
	loopEnd                     // it can't
)

// advance goes on with a connection until it waits for an event, is idle, or ended.
func (l *httpLoop) advance(c *httpConn, step loopStep) {
	for step != loopPending {
		if step == loopEnd {
			l.hangUp(c)
			if c.h.pool.again(c) {
				l.dial(c)
			} else {
				l.end(c)
			}
			return
		}
		busy, idle := c.h.pool.take(c, time.Now())
		switch {
		case busy:
			step = l.serve(c)
		case idle:
			c.loop.state = loopIdle
			return
		default:
			step = loopEnd
		}
	}
}

// end forgets a connection.
func (l *httpLoop) end(c *httpConn) {
	l.slots[c.loop.slot] = nil
	l.free = append(l.free, c.loop.slot)
	c.loop.state = loopEnded
	c.end()
	l.h.wg.Done()
}

// watchDeadline sees to it that expire is called when c's deadline is over.
func (l *httpLoop) watchDeadline(c *httpConn) {
	if l.next.IsZero() || c.loop.deadline.Before(l.next) {
		l.next = c.loop.deadline
		l.timer.Reset(time.Until(l.next))
	}
}

// expire ends what has gone on for too long.
func (l *httpLoop) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, c := range l.slots {
		if c != nil && c.loop.timed() && !now.Before(c.loop.deadline) {
			l.timeOut(c)
		}
	}
	l.drain()
	l.next = time.Time{}
	for _, c := range l.slots {
		if c != nil && c.loop.timed() {
			l.watchDeadline(c)
		}
	}
}

// abort gives up c's exchange, whose context has ended.
func (l *httpLoop) abort(c *httpConn, turn int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.mu.Lock()
	current := c.turn == turn
	c.mu.Unlock()
	if current && (c.loop.timed() || c.loop.state == loopReady) && c.busy {
		l.advance(c, l.finish(c, c.givenUp(kagami.SendError), false))
		l.drain()
	}
}

// giveUpDialing ends attempts at a connection that nobody waits for any more.
func (l *httpLoop) giveUpDialing() {
	for _, c := range l.slots {
		if c != nil && c.loop.state == loopDialing && !c.busy {
			l.dialed(c, l.h.ctx.Err())
		}
	}
}
