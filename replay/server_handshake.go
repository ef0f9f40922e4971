package replay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"kagami"
	"kagami/internal/stream"
)

// shakeHands reads the hello and answers it. Who is not let in is counted, and
// told why, before it returns the error.
func (c *serverConn) shakeHands() error {
	s := c.server
	_ = c.conn.SetWriteDeadline(c.begun.Add(s.cfg.Handshake))
	c.readUntil(c.begun.Add(s.cfg.Handshake))
	hello, err := c.readHello()
	if err != nil {
		r := c.reject(err)
		if r.error != errSilent {
			s.garbage.Add(1)
		}
		s.stopShaking(c)
		s.turnedAway(c, r)
		return err
	}
	c.name = fmt.Sprintf("%s (%s)", hello.Listener, c.name)
	var answer stream.Answer
	if answer.Refused = c.objection(hello); answer.Refused == nil {
		c.session, answer = s.attach(c, hello)
	}
	if answer.Refused != nil {
		s.refused.Add(1)
		s.stopShaking(c)
		s.turnedAway(c, rejection{fmt.Errorf("refused: %w", answer.Refused), refusalReason(answer.Refused.Code)})
		c.lastWords(stream.AppendAnswer(nil, answer))
		return answer.Refused
	}
	if _, err := c.w.Write(stream.AppendAnswer(nil, answer)); err != nil {
		s.detach(c, c.session, false)
		s.stopShaking(c)
		s.turnedAway(c, err)
		return err
	}
	return nil
}

func (c *serverConn) readHello() (stream.Hello, error) {
	if err := c.secure(); err != nil {
		return stream.Hello{}, err
	}
	hello, err := stream.ReadHello(c.r)
	if err == io.EOF && c.secured != nil {
		err = io.ErrUnexpectedEOF
	}
	return hello, err
}

// objection returns why a listener is not let in, nil if it is.
func (c *serverConn) objection(h stream.Hello) *stream.Refusal {
	refuse := func(code stream.Code, format string, args ...any) *stream.Refusal {
		return refusal(code, format, args...).Refused
	}
	switch {
	case h.Version != stream.Protocol:
		return refuse(stream.CodeProtocol, "the listener speaks version %d of the protocol and the replayer version %d: use the same version of kagami on both sides", h.Version, stream.Protocol)
	case h.Hop == maxHop:
		return refuse(stream.CodeProtocol, "the stream has passed %d replayers, or goes in a circle", maxHop)
	}
	if r := c.distrust(h); r != nil {
		return r
	}
	switch {
	case c.server.cfg.NeedResponses && !h.Responses:
		return refuse(stream.CodeProtocol, "the replayer compares answers, and the listener does not send production's: start the listener with --input-raw-track-response")
	case c.isStopped():
		return refuse(stream.CodeClosing, "%v", errDraining)
	case !c.server.takePlace(c):
		return refuse(stream.CodeBusy, "%s", c.server.noPlace())
	}
	return nil
}

// maxHop is the hop that cannot be one more.
const maxHop = 255

// A rejection is the error of a handshake: how it is counted, and whether the
// peer has to be watched.
type rejection struct {
	error
	reason kagami.Reason
}

func (r rejection) Unwrap() error { return r.error }

// reject sorts the error of a handshake in which the peer said no hello.
func (c *serverConn) reject(err error) rejection {
	strange := kagami.Damaged
	if c.server.cfg.Trust != nil {
		strange = kagami.Unauthorized
	}
	switch {
	case c.isStopped():
		if c.evicted() {
			return rejection{errors.New("no hello yet, and others wait"), kagami.Timeout}
		}
		return rejection{errSilent, kagami.DrainTimeout}
	case err == io.EOF:
		return rejection{errSilent, kagami.Unfinished} // as the probe of a load balancer does
	case errors.Is(err, os.ErrDeadlineExceeded):
		return rejection{fmt.Errorf("no hello within %v", c.server.cfg.Handshake), kagami.Timeout}
	}
	return rejection{err, strange}
}

// refusalReason is how a refused listener is counted.
func refusalReason(code stream.Code) kagami.Reason {
	switch code {
	case stream.CodeInsecure, stream.CodeUnauthorized:
		return kagami.Unauthorized
	case stream.CodeBusy:
		return kagami.RateLimited
	case stream.CodeClosing:
		return kagami.DrainTimeout
	}
	return kagami.Damaged
}

// turnedAway counts a connection that is not a listener's, or not of one that
// is let in, and tells Notify of the first of its peer.
func (s *Server) turnedAway(c *serverConn, err error) {
	r := rejection{err, kagami.SendError}
	errors.As(err, &r)
	s.links.Drop(r.reason, 1)
	if r.reason == kagami.Unauthorized {
		s.unauthorized.Add(1)
	}
	if r.error == errSilent {
		return
	}
	blame := r.reason == kagami.Unauthorized || r.reason == kagami.Damaged || r.reason == kagami.Timeout && !c.evicted()
	if s.peers.complain(c.peer, blame, time.Now()) {
		s.cfg.Notify(fmt.Errorf("stream from %s: %w", c.name, r.error))
	}
}
