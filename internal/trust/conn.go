package trust

import (
	"crypto/tls"
	"io"
	"net"
)

// A Conn is a connection over TLS.
type Conn struct {
	*tls.Conn
	raw net.Conn
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

// Close closes the connection at once, without saying so to the peer first:
// the stream inside has words of its own for that.
func (c *Conn) Close() error { return c.raw.Close() }
