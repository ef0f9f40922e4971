package trust

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// A Conn is a connection over TLS.
type Conn struct {
	*tls.Conn
	raw   net.Conn
	under *gather // nil where little is written
}

// Read reads. The end of the connection is io.EOF, with or without TLS saying
// so: the stream inside knows whether it was whole.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// Write writes b with few system calls: TLS cuts it into records of 16 KiB,
// and would write each of them.
func (c *Conn) Write(b []byte) (int, error) {
	if c.under == nil {
		return c.Conn.Write(b)
	}
	c.under.begin()
	n, err := c.Conn.Write(b)
	if flushed := c.under.end(); err == nil && flushed != nil {
		n, err = 0, flushed
	}
	return n, err
}

// Close closes the connection at once, without saying so to the peer first:
// the stream inside has words of its own for that.
func (c *Conn) Close() error { return c.raw.Close() }

// gathered is how many bytes are gathered before they are written.
const gathered = 64 << 10

// A gather gathers what is written between begin and end.
type gather struct {
	net.Conn
	mu   sync.Mutex
	on   bool
	held []byte
	err  error
}

func (g *gather) begin() {
	g.mu.Lock()
	g.on = true
	g.mu.Unlock()
}

func (g *gather) end() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on = false
	return g.flush()
}

// Write implements net.Conn.
func (g *gather) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.on {
		return g.Conn.Write(b)
	}
	if g.err != nil {
		return 0, g.err
	}
	if len(g.held)+len(b) > gathered {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	if g.held == nil {
		g.held = make([]byte, 0, gathered)
	}
	g.held = append(g.held, b...)
	return len(b), nil
}

// flush writes what was gathered. g.mu is held.
func (g *gather) flush() error {
	if len(g.held) > 0 && g.err == nil {
		_, g.err = g.Conn.Write(g.held)
		g.held = g.held[:0]
	}
	return g.err
}
