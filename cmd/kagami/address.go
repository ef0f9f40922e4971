package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// splitSuffix cuts the suffixes off an address: the parts behind the last '|'s
// that parse, at most one of each sort. What stands before them is the
// address, '|'s included. The last part has to be a suffix, or the user would
// never learn of a slip.
func splitSuffix(s string) (address string, suffixes []string, err error) {
	address = s
	for {
		i := strings.LastIndexByte(address, '|')
		if i < 0 {
			return address, suffixes, nil
		}
		part := address[i+1:]
		if suffixSort(part) == "" {
			if len(suffixes) == 0 {
				return "", nil, fmt.Errorf("unknown suffix |%s", part)
			}
			return address, suffixes, nil
		}
		address, suffixes = address[:i], append(suffixes, part)
	}
}

// suffixSort says what sort of suffix s is, "" if none. "%" is a share or a
// speed, whichever the address has.
func suffixSort(s string) string {
	if s == "max" {
		return "%"
	}
	if n, ok := strings.CutSuffix(s, "%"); ok && isNumber(n) {
		return "%"
	}
	if isNumber(strings.TrimSuffix(s, "/s")) {
		return "/s"
	}
	return ""
}

const (
	suffixHelp = "an address may end in |10% (a share), |100 or |100/s (requests a second), or both; " +
		"to keep a | in an address, end it with |100%"
	speedSuffixHelp = "a file or broker may end in |200% (the speed), |max (as fast as it goes), |100 or |100/s (requests a second), " +
		"or a speed and a limit; to keep a | in a name, end it with |100%"
)

// cutSuffix cuts the suffixes off an address and puts them into the two fields
// they are for: percent takes |10% and |max, limit takes |100 and |100/s.
func cutSuffix(s string, percent, limit value) (address string, suffixes []string, err error) {
	help := suffixHelp
	if _, speed := percent.(speedValue); speed {
		help = speedSuffixHelp
	}
	address, suffixes, err = splitSuffix(s)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s", err, help)
	}
	seen := map[string]string{}
	for _, suffix := range suffixes {
		sort := suffixSort(suffix)
		if other, twice := seen[sort]; twice {
			return "", nil, fmt.Errorf("two of a kind, |%s and |%s: %s", suffix, other, help)
		}
		seen[sort] = suffix
		field := limit
		if sort == "%" {
			field = percent
		}
		if err := field.Set(suffix); err != nil {
			return "", nil, fmt.Errorf("suffix |%s: %w: %s", suffix, err, help)
		}
	}
	return address, suffixes, nil
}

// parseRaw reads the address of a raw input, [HOST]:PORTS or the path of a
// packet file, into c. c.Engine says how packets are read, unless the address
// is the path of a packet file.
func parseRaw(address string, c *RawConfig) error {
	if pods, ok := strings.CutPrefix(address, podScheme); ok {
		return parsePods(pods, c)
	}
	host, ports, ok := cutPorts(address)
	if path, has := packetFile(address, host, ok, c.Engine); has {
		c.Engine = enginePcapFile
		if path == address {
			c.Host = path
			return nil
		}
	} else if !ok {
		return errors.New("want [interface or address]:port, as in :8080, eth0:80,443 or 127.0.0.1:8080, or a packet file, as in dump.pcap")
	} else if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return fmt.Errorf("put an IPv6 address into brackets, as in [%s]:%s", host, ports)
	}
	list, err := parsePorts(ports)
	if err != nil {
		return err
	}
	c.Ports = list
	c.Host, err = rawHost(host)
	return err
}

// cutPorts splits an address at its last colon.
func cutPorts(address string) (host, ports string, ok bool) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", "", false
	}
	return address[:i], address[i+1:], true
}

// packetFile says whether an address names a packet file, with ports behind it
// or without, and returns the path.
func packetFile(address, host string, cut bool, engine string) (path string, ok bool) {
	if isPacketFile(address) {
		return address, true
	}
	if cut && isPacketFile(host) {
		return host, true
	}
	return address, engine == enginePcapFile
}

func isPacketFile(path string) bool {
	path = strings.TrimSuffix(path, ".gz")
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".pcap" || ext == ".pcapng"
}

// rawHost checks the host part of a raw address. GoReplay takes the name
// localhost too; other names are interfaces.
func rawHost(host string) (string, error) {
	if host == "localhost" {
		return "127.0.0.1", nil
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if _, err := netip.ParseAddr(inner); !ok || err != nil {
			return "", fmt.Errorf("%s: want an IPv6 address in the brackets, as in [::1]:80", host)
		}
		return inner, nil
	}
	return host, nil
}

// maxPorts is how many ports one raw input takes; all of them are one filter
// in the kernel.
const maxPorts = 1024

// parsePorts reads ports and ranges of them, separated by commas. Nothing, or
// 0, is every port: nil.
func parsePorts(s string) ([]uint16, error) {
	if s == "" || s == "0" {
		return nil, nil
	}
	var ports []uint16
	for _, part := range strings.Split(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, err := parsePort(low)
		if err != nil {
			return nil, err
		}
		to := from
		if isRange {
			if to, err = parsePort(high); err != nil {
				return nil, err
			}
			if to < from {
				return nil, fmt.Errorf("ports %s: the first is larger than the last", part)
			}
		}
		if len(ports)+int(to-from) >= maxPorts {
			return nil, fmt.Errorf("more than %d ports: for every port leave them out", maxPorts)
		}
		for p := int(from); p <= int(to); p++ {
			ports = append(ports, uint16(p))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s: want 1 to 65535", quoteIfOdd(s))
	}
	return uint16(n), nil
}

// portsText writes ports as parsePorts reads them, runs as ranges.
func portsText(ports []uint16) string {
	var parts []string
	for i := 0; i < len(ports); {
		j := i
		for j+1 < len(ports) && ports[j+1] == ports[j]+1 {
			j++
		}
		part := strconv.Itoa(int(ports[i]))
		if j > i {
			part += "-" + strconv.Itoa(int(ports[j]))
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// checkHostPort checks an address of the form host:port. Without a host it is
// every interface, which only a server can use.
func checkHostPort(address string, server bool) error {
	host, port, ok := cutPorts(address)
	if !ok {
		return fmt.Errorf("want host:port, as in %s:28020", address)
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		if strings.Contains(host, "//") {
			return fmt.Errorf("want host:port without %s", host[:strings.Index(host, "//")+2])
		}
		return fmt.Errorf("put an IPv6 address into brackets, as in [%s]:%s", host, port)
	}
	if host == "" && !server {
		return fmt.Errorf("want host:port, as in replayer:%s", port)
	}
	if server && port == "0" {
		return nil // any free one
	}
	_, err := parsePort(port)
	return err
}

// parseTarget checks the URL of an http output. One without a scheme gets
// http://, for GoReplay takes that too.
func parseTarget(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", fmt.Errorf("not a URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("scheme %s: want http:// or https://", u.Scheme)
	case u.Hostname() == "":
		return "", errors.New("the URL has no host: want something like http://staging:8080")
	case u.Fragment != "" || u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("each request brings its own query: leave ? and # out, and set parameters with --http-set-param")
	}
	if port := u.Port(); port != "" {
		if _, err := parsePort(port); err != nil {
			return "", err
		}
	}
	return address, nil
}

// userinfo is the user and password of a URL (RFC 3986 §3.2.1).
var userinfo = regexp.MustCompile(`://[^/?#]*@`)

// shown is what was given as it may be said: of a URL without user and password.
func shown(s string) string { return userinfo.ReplaceAllString(s, "://") }

// quoteIfOdd quotes what could not be told from the sentence around it.
func quoteIfOdd(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r > '~' }) {
		return strconv.Quote(s)
	}
	return s
}
