package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"kagami/internal/trust"
)

// A TrustConfig is how the two ends of a stream know each other.
type TrustConfig struct {
	Dir         string // of a replayer's key and tokens; "" is the default one, where one is needed
	JoinAddress string // what the join file of a first start says; "" is this host's name
	CA          string // files of certificates that somebody else makes; all or none
	Cert        string
	Key         string
}

// hasFiles reports whether certificates were given.
func (c *TrustConfig) hasFiles() bool { return c.CA != "" || c.Cert != "" || c.Key != "" }

func trustOptions() []option {
	tls := func(flag, arg, help string, bind func(c *TrustConfig) value) option {
		return process(flag, arg, groupTrust, help, func(c *Config) value { return bind(&c.Trust) })
	}
	output := func(flag, key, arg, help string, bind func(c *TCPOutputConfig) value) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupTrust, scope: scopeOutput, kind: "tcp", notFor: RoleReplay,
			bind: func(t *subject) value { return bind(&t.output.TCP) }}
	}
	options := []option{
		output("join-file", "join-file", "FILE", "stream over TLS to the replayer that made this file, and prove yourself with the token in it; may be repeated, "+
			"then the file with the address of --output-tcp counts", func(c *TCPOutputConfig) value { return linesValue{&c.JoinFiles} }),
		output("join", "", "TEXT", "", func(c *TCPOutputConfig) value { return stringValue{&c.Join} }),
		tls("tls-dir", "DIR", "where the replayer keeps its key and the hashes of tokens; both are made at the first start, and a join file to copy to listeners "+
			"(default, where --input-tcp is not on loopback, /var/lib/kagami for root, else ~/.local/state/kagami)", func(c *TrustConfig) value { return stringValue{&c.Dir} }),
		tls("join-address", "HOST:PORT", "what that join file says where the replayer is (default this host's name)", func(c *TrustConfig) value { return stringValue{&c.JoinAddress} }),
		tls("tls-ca", "FILE", "know the other end by a certificate of these authorities (PEM); needs --tls-cert and --tls-key, on both sides", func(c *TrustConfig) value { return stringValue{&c.CA} }),
		tls("tls-cert", "FILE", "our certificate, with those between it and the authority", func(c *TrustConfig) value { return stringValue{&c.Cert} }),
		tls("tls-key", "FILE", "and its key; all three are read again when they change", func(c *TrustConfig) value { return stringValue{&c.Key} }),
		process("insecure", "", groupTrust, "allow --input-tcp and --output-tcp in clear between hosts, where both sides need it, and brokers on other hosts without TLS", func(c *Config) value { return boolValue{&c.Insecure} }),
	}
	options[1].hidden, options[1].envOnly = true, true
	options[2].notFor, options[3].notFor = RoleListen, RoleListen
	return options
}

// idleTrust says whether a setting has no stream to act on.
func idleTrust(g given, kinds map[string]bool) []string {
	in, out := kinds["input-tcp"], kinds["output-tcp"]
	switch g.option.flag {
	case "tls-dir", "join-address":
		if !in {
			return []string{g.at + " changes nothing: there is no --input-tcp"}
		}
	case "tls-ca", "tls-cert", "tls-key":
		if !in && !out {
			return []string{g.at + " changes nothing: there is no --input-tcp and no --output-tcp"}
		}
	}
	return nil
}

// checkTrust checks what the settings come to, before anything is opened.
func checkTrust(cfg *Config) error {
	t := &cfg.Trust
	if t.JoinAddress != "" {
		if err := checkHostPort(t.JoinAddress, false); err != nil {
			return usagef("--join-address %s: %w", t.JoinAddress, err)
		}
	}
	if !t.hasFiles() {
		return nil
	}
	if t.CA == "" || t.Cert == "" || t.Key == "" {
		return usagef("--tls-ca, --tls-cert and --tls-key belong together: give all three, or leave them out and use --join-file")
	}
	if t.Dir != "" {
		return usagef("--tls-dir and --tls-ca are two ways to know listeners: use one")
	}
	for _, out := range cfg.Outputs {
		if len(out.TCP.JoinFiles) > 0 || out.TCP.Join != "" {
			return usagef("--join-file and --tls-ca are two ways to know the replayer: use one")
		}
	}
	return nil
}

// trustFiles are the certificates of --tls-ca, --tls-cert and --tls-key.
func (m *mirror) trustFiles() *trust.Files {
	t := m.cfg.Trust
	return &trust.Files{CA: t.CA, Cert: t.Cert, Key: t.Key, Notify: func(err error) { m.log.Error(err.Error()) }}
}

// serverTrust returns what listeners that stream to l have to show, nil for
// nothing.
func (m *mirror) serverTrust(cfg InputConfig, l net.Listener) (*trust.Server, error) {
	if m.cfg.Trust.hasFiles() {
		return m.trustFiles().Server()
	}
	path := m.cfg.Trust.Dir
	if path == "" && (m.cfg.Insecure || isLoopback(cfg.Address)) {
		return nil, nil
	}
	if path == "" {
		var err error
		if path, err = defaultTrustDir(); err != nil {
			return nil, noTrustDir(err)
		}
	}
	dir, err := trust.OpenDir(path)
	if err != nil {
		return nil, noTrustDir(err)
	}
	if err := m.firstStart(dir, joinAddress(m.cfg.Trust.JoinAddress, l.Addr())); err != nil {
		return nil, noTrustDir(err)
	}
	return dir.Server()
}

func noTrustDir(err error) error {
	return fmt.Errorf("a place is needed for the replayer's key and tokens: %w; say where with --tls-dir DIR, or take streams in clear with --insecure", err)
}

// firstStart makes the replayer's key and a join file if there is no key yet,
// and says what to do with it.
func (m *mirror) firstStart(dir *trust.Dir, address string) error {
	cert, made, err := dir.Certificate()
	if err != nil {
		return err
	}
	if made {
		file, err := dir.Add(trust.FirstToken, address, "")
		if err != nil {
			return err
		}
		m.log.Info("this replayer has a key now: copy its join file to the listeners' hosts, then delete it here",
			"file", file, "fingerprint", trust.FingerprintOf(cert.Certificate[0]).String(),
			"there", "kagami listen --input-raw :8080 --output-tcp "+address+" --join-file "+filepath.Base(file))
		return nil
	}
	tokens, err := dir.Tokens()
	if err == nil && len(tokens) == 0 {
		m.log.Warn("no listener can stream to here, for no token is valid: make one with kagami token add", "dir", dir.Path())
	}
	return err
}

// defaultTrustDir is where a replayer keeps its key if nobody says where.
func defaultTrustDir() (string, error) {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" { // systemd.exec(5)
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/kagami", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kagami"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local/state/kagami"), err
}

// isLoopback reports whether only this host can connect to an address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// joinAddress is where listeners on other hosts find what listens at addr.
func joinAddress(given string, addr net.Addr) string {
	if given != "" {
		return given
	}
	to, ok := addr.(*net.TCPAddr)
	if ok && !to.IP.IsUnspecified() {
		return addr.String()
	}
	host, err := os.Hostname()
	if err != nil || !ok {
		host = "replayer"
	}
	return fmt.Sprintf("%s:%d", host, to.Port)
}

// clientTrust returns how a stream to the replayer at address is secured, nil if it is not.
func (m *mirror) clientTrust(cfg OutputConfig, address string) (*trust.Client, error) {
	if m.cfg.Trust.hasFiles() {
		return m.trustFiles().Client()
	}
	var loads []func() (trust.Join, error)
	for _, path := range cfg.TCP.JoinFiles {
		loads = append(loads, func() (trust.Join, error) {
			j, err := trust.ReadJoin(path)
			if err != nil {
				err = fmt.Errorf("--join-file: %w", err)
			}
			return j, err
		})
	}
	if text := cfg.TCP.Join; text != "" {
		loads = append(loads, func() (trust.Join, error) {
			j, err := trust.ParseJoin(text)
			if err != nil {
				err = fmt.Errorf("KAGAMI_JOIN: %w", err)
			}
			return j, err
		})
	}
	switch len(loads) {
	case 0:
		return nil, nil
	case 1:
		return trust.JoinClient(loads[0])
	}
	return joinOf(address, loads)
}

// joinOf returns the client of that join file that has an address.
func joinOf(address string, loads []func() (trust.Join, error)) (*trust.Client, error) {
	var errs []error
	var known []string
	for _, load := range loads {
		j, err := load()
		if err == nil && j.Address == address {
			return trust.JoinClient(load)
		}
		errs = append(errs, err)
		known = append(known, j.Address)
	}
	return nil, cmp.Or(errors.Join(errs...),
		fmt.Errorf("no join file has this address: they have %s", strings.Join(known, ", ")))
}
