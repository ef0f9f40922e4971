package capture

import (
	"fmt"
	"net/netip"
	"time"
)

// The defaults of a Config's fields.
const (
	DefaultExpire         = 2 * time.Second
	DefaultExpireRecorded = time.Minute
	DefaultMaxMessage     = 16 << 20
	DefaultMemory         = 24 << 20
	DefaultMaxConnections = 1 << 16
	DefaultQueue          = 4 << 20
)

// A Config says what a Listener captures and what it may cost. The zero value
// captures requests on any port.
type Config struct {
	// Ports is the server ports. With none, HTTP is recognised on any port by its
	// first bytes.
	Ports []uint16
	// Responses says to capture the answers too, each with its request's Exchange.
	// Interim answers (1xx but 101, RFC 9110 §15.2) are no messages: they
	// belong to the exchange whose final answer follows. A request that is upgraded to
	// HTTP/2 has two answers: the 101, and that of stream 1.
	Responses bool
	// ResponseHead, if not 0, is how many bytes are looked at of the payload of each segment
	// of an answer: enough for heads, where bodies are not needed. An answer that has
	// more is handed on as kagami.Truncated; where the end of its body cannot be told
	// then, its End is that of what was looked at.
	ResponseHead int
	// Expire is how long an unfinished message is kept that gets no new bytes, and
	// how long missing bytes are waited for, by the time of the packets.
	// 0 means DefaultExpire, or with Wait DefaultExpireRecorded: there, patience costs
	// no more than memory, and what a client sent again after seconds is still found.
	Expire time.Duration
	// AllowIncomplete says to hand on what there is of an unfinished message (with
	// kagami.Incomplete) or of one that the capture cut short
	// (kagami.Truncated), as long as its head is whole, instead of dropping it.
	AllowIncomplete bool
	// MaxMessage is the largest message in bytes, head included. A larger one is
	// dropped as too-large, and its connection goes on. 0 means DefaultMaxMessage.
	MaxMessage int
	// Memory bounds what all unfinished messages and early segments take together, in bytes.
	// Over it, what made no progress for longest goes, as memory-limit. The connection
	// table comes on top, about 300 bytes a connection. 0 means DefaultMemory.
	Memory int64
	// MaxConnections bounds the connection table. Where it is full the
	// connection idle for longest is forgotten, which costs nothing: it is joined again at
	// its next request. 0 means DefaultMaxConnections.
	MaxConnections int
	// Queue bounds the finished messages that wait to be handed on, in bytes. More are
	// dropped as queue-full. 0 means DefaultQueue.
	Queue int64
	// Wait says that the sources are recordings: reading waits until there is
	// room in the queue, and only the packets' own time counts.
	Wait bool
	// Promiscuous says to take packets that were sent to other hosts (OtherHost)
	// though Local is set.
	Promiscuous bool
	// Local reports whether a server address is ours, for packets seen on an
	// interface. It is called for new connections, under the Listener's lock: it must be
	// quick. Nil means that all are ours.
	Local func(ifindex int, server netip.Addr) bool
	// Own reports whether a connection is one of our own to an output's target. It is
	// called as Local is. Nil means that none is.
	Own func(client, server netip.AddrPort) bool
	// ReplayHeader is a header field by which our own mirrored requests are known:
	// they are dropped as own-traffic. "" means not to look.
	ReplayHeader string
}

// check fills in the defaults.
func (c *Config) check() error {
	for _, p := range c.Ports {
		if p == 0 {
			return fmt.Errorf("capture: port 0: want 1 to 65535, or no ports at all for any")
		}
	}
	switch {
	case c.Expire < 0:
		return fmt.Errorf("capture: expire of %v: want more than 0", c.Expire)
	case c.MaxMessage < 0 || c.ResponseHead < 0 || c.Memory < 0 || c.MaxConnections < 0 || c.Queue < 0:
		return fmt.Errorf("capture: a limit is less than 0")
	}
	if c.Wait {
		c.Expire = orDefault(c.Expire, DefaultExpireRecorded)
	}
	c.Expire = orDefault(c.Expire, DefaultExpire)
	c.MaxMessage = orDefault(c.MaxMessage, DefaultMaxMessage)
	c.Memory = orDefault(c.Memory, DefaultMemory)
	c.MaxConnections = orDefault(c.MaxConnections, DefaultMaxConnections)
	c.Queue = orDefault(c.Queue, DefaultQueue)
	return nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
