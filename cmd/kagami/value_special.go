package main

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"kagami/filter"
)

// engineValue is how packets are read.
type engineValue struct{ p *string }

func (v engineValue) Set(s string) error {
	switch s {
	case engineAuto, engineRing, engineLibpcap, enginePcapFile, engineVXLAN, engineGeneve:
		*v.p = s
	case engineGoReplay:
		*v.p = engineRing
	default:
		return errors.New("want auto, af_packet, libpcap, pcap_file, vxlan or geneve")
	}
	return nil
}

func (v engineValue) String() string { return *v.p }

// connectionsValue is how many connections there are at most. GoReplay's 0 is
// no bound; here something has to bound them.
type connectionsValue struct{ p *int }

func (v connectionsValue) Set(s string) error {
	err := intValue{v.p, 0}.Set(s)
	if err == nil && *v.p == 0 {
		*v.p = defaultConnections
	}
	return err
}

func (v connectionsValue) String() string { return strconv.Itoa(*v.p) }

// protocolValue takes what GoReplay's --input-raw-protocol says, where it is
// what there is.
type protocolValue struct{}

func (protocolValue) Set(s string) error {
	if s != "http" {
		return errors.New("want http: other protocols are not supported yet")
	}
	return nil
}

func (protocolValue) String() string { return "" }

// timestampValue is a type of time stamp by libpcap's name (pcap-tstamp(7)).
type timestampValue struct{ p *string }

func (v timestampValue) Set(s string) error {
	if s == "go" {
		return errors.New("not supported: the kernel's time stamps are more exact; leave it out")
	}
	types := []string{"host", "host_lowprec", "host_hiprec", "host_hiprec_unsynced", "adapter", "adapter_unsynced"}
	if !slices.Contains(types, s) {
		return errors.New("want " + alternatives(types))
	}
	*v.p = s
	return nil
}

func (v timestampValue) String() string { return *v.p }

// adminValue is an address to serve at. Without a host it is the loopback
// address: who wants others to reach it says so.
type adminValue struct{ p *string }

func (v adminValue) Set(s string) error {
	if err := checkHostPort(s, true); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	*v.p = net.JoinHostPort(host, port)
	return nil
}

func (v adminValue) String() string { return *v.p }

// pprofValue is adminValue, and turns the profiles on.
type pprofValue struct{ c *Config }

func (v pprofValue) Set(s string) error {
	admin := v.c.Admin
	if err := (adminValue{&admin}).Set(s); err != nil {
		return err
	}
	if v.c.Admin != "" && v.c.Admin != admin {
		return errors.New("--admin is " + v.c.Admin + ": profiles are served there too, give the same address")
	}
	v.c.Admin, v.c.Pprof = admin, true
	return nil
}

func (v pprofValue) String() string {
	if !v.c.Pprof {
		return ""
	}
	return v.c.Admin
}

// ruleValue is a list of the rules of a filter. Each is tried out when it is set,
// so that the user learns where a bad one stands.
type ruleValue struct {
	config *filter.Config
	list   func(*filter.Config) *[]string
}

func (v ruleValue) Set(s string) error {
	var alone filter.Config
	*v.list(&alone) = []string{s}
	if _, err := filter.New(alone); err != nil {
		return bareError(err, s)
	}
	rules := v.list(v.config)
	*rules = append(*rules, s)
	return nil
}

func (v ruleValue) String() string { return strings.Join(*v.list(v.config), "\n") }
func (v ruleValue) clear()         { *v.list(v.config) = nil }

// headerValue is the name of the header that the client's address goes into.
type headerValue struct{ p *string }

func (v headerValue) Set(s string) error {
	if _, err := filter.New(filter.Config{RealIPHeader: s}); err != nil {
		return bareError(err, s)
	}
	*v.p = s
	return nil
}

func (v headerValue) String() string { return *v.p }

// bareError is an error of package filter without the flag and the value,
// which are named already where it is reported.
func bareError(err error, value string) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return errors.New(strings.TrimPrefix(err.Error(), strconv.Quote(value)+": "))
}

// secondsValue is a duration given as a whole number of seconds.
type secondsValue struct{ p *time.Duration }

func (v secondsValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return errors.New("want a whole number of seconds, 1 or more")
	}
	*v.p = time.Duration(n) * time.Second
	return nil
}

func (v secondsValue) String() string { return strconv.FormatInt(int64(*v.p/time.Second), 10) }
