package filter

import (
	"bytes"
	"fmt"
	"strings"

	"kagami"
	"kagami/internal/http1"
)

// A SampleConfig says what share of requests is kept, and what decides.
type SampleConfig struct {
	// Share is how much is kept. The zero value is nothing; kagami.Whole is
	// everything.
	Share kagami.Share
	// By is what decides: all requests that have it in common share one fate.
	//
	//	request     each for itself (the default, also "")
	//	connection  the client's address and port
	//	client      the client's address
	//	header:NAME the value of a header
	//	cookie:NAME the value of a cookie
	//	param:NAME  the value of a parameter of the query
	//
	// A request in which the header, the cookie or the parameter is missing or
	// empty goes by its connection; one whose connection is not known, as in
	// some recordings, goes for itself.
	By string
	// Seed tells samples apart that are to be independent of each other.
	Seed uint64
	// Side is where the sample is taken. The zero value is kagami.OutputSide.
	Side kagami.Side
}

// A sample keeps a share of requests.
type sample struct {
	share kagami.Share
	key   key
	salts [256]kagami.Salt // by hop
}

// A key returns the hash by which a request is chosen; ok is false where the
// request has not what it goes by.
type key func(m *kagami.Message, salt kagami.Salt) (hash uint32, ok bool)

var _ Filter = (*sample)(nil)

// NewSample returns a filter that keeps a share of requests and drops the rest
// as [kagami.SampledOut]. What is kept depends on the seed, the side, the
// message's hop and what the sample goes by, and on nothing else: outputs
// behind the same hop nest, the 10 % being a part of the 50 %, while 10 % of
// what another hop or an input kept 50 % of is 5 %. Answers pass.
func NewSample(cfg SampleConfig) (Filter, error) {
	key, err := parseKey(cfg.By)
	if err != nil {
		return nil, flagError("sample-by", err)
	}
	switch cfg.Side {
	case 0:
		cfg.Side = kagami.OutputSide
	case kagami.InputSide, kagami.OutputSide:
	default:
		return nil, fmt.Errorf("sample at side %d: want an input or an output", cfg.Side)
	}
	if cfg.Share == kagami.Whole {
		return Chain(nil), nil
	}
	s := &sample{share: cfg.Share, key: key}
	for hop := range s.salts {
		s.salts[hop] = kagami.NewSalt(cfg.Seed, uint8(hop), cfg.Side)
	}
	return s, nil
}

// Apply implements Filter.
func (s *sample) Apply(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	if m.Kind != kagami.Request {
		return m, kagami.Delivered
	}
	salt := s.salts[m.Hop]
	h, ok := s.key(m, salt)
	if !ok {
		h, ok = byConnection(m, salt)
	}
	if !ok {
		h, _ = byRequest(m, salt)
	}
	if !s.share.Includes(h) {
		return nil, kagami.SampledOut
	}
	return m, kagami.Delivered
}

func parseKey(by string) (key, error) {
	switch by {
	case "", "request":
		return byRequest, nil
	case "connection":
		return byConnection, nil
	case "client":
		return byClient, nil
	}
	kind, name, _ := strings.Cut(by, ":")
	switch {
	case kind == "header" && isToken(name):
		return byValue(name, http1.Header), nil
	case kind == "cookie" && isToken(name):
		return byValue(name, cookie), nil
	case kind == "param" && name != "":
		return byValue(name, param), nil
	}
	return nil, wrong(by, "want request, connection, client, header:NAME, cookie:NAME or param:NAME")
}

func byRequest(m *kagami.Message, salt kagami.Salt) (uint32, bool) {
	return salt.ID(m.Exchange.ID), true
}

func byConnection(m *kagami.Message, salt kagami.Salt) (uint32, bool) {
	return salt.Connection(m.Client), m.Client.IsValid()
}

func byClient(m *kagami.Message, salt kagami.Salt) (uint32, bool) {
	return salt.Client(m.Client.Addr()), m.Client.IsValid()
}

// byValue returns the key that is a value which find finds in the raw message.
func byValue(name string, find func(raw []byte, name string) ([]byte, bool)) key {
	return func(m *kagami.Message, salt kagami.Salt) (uint32, bool) {
		value, _ := find(m.Raw, name)
		return salt.Bytes(value), len(value) > 0
	}
}

func param(raw []byte, name string) ([]byte, bool) {
	return http1.Param(http1.Target(raw), name)
}

// cookie returns the value of the first cookie of that name (RFC 6265 §4.2.1),
// whose letter case counts.
func cookie(raw []byte, name string) (value []byte, ok bool) {
	http1.EachHeader(raw, func(n, pairs, _ []byte) bool {
		if http1.SameName(n, "cookie") {
			value, ok = cookieIn(pairs, name)
		}
		return !ok
	})
	return value, ok
}

func cookieIn(pairs []byte, name string) (value []byte, ok bool) {
	for more := true; more; {
		var pair []byte
		pair, pairs, more = bytes.Cut(pairs, []byte{';'})
		n, v, _ := bytes.Cut(pair, []byte{'='})
		if string(bytes.TrimSpace(n)) == name {
			return bytes.TrimSpace(v), true
		}
	}
	return nil, false
}
