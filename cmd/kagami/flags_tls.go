package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"kagami/output"
)

// A TLSConfig is how the servers of https:// targets are known, and how we are
// known to them.
type TLSConfig struct {
	SkipVerify bool   // accept any certificate
	CA         string // file of certificates that are trusted instead of the system's; "" none
	Cert, Key  string // files of our certificate and its key; "" none
	ServerName string // instead of the URL's host
}

func tlsOptions() []option {
	http := func(key, arg, help string, bind func(c *TLSConfig) value) option {
		return option{flag: "output-http-" + key, key: key, arg: arg, help: help, group: groupHTTP, scope: scopeOutput, kind: "http",
			bind: func(t *subject) value { return bind(&t.output.HTTP.TLS) }}
	}
	return []option{
		http("skip-verify", "", "accept any certificate", func(c *TLSConfig) value { return boolValue{&c.SkipVerify} }),
		http("ca", "FILE", "trust the certificates in this file (PEM) instead of the system's", func(c *TLSConfig) value { return stringValue{&c.CA} }),
		http("cert", "FILE", "our certificate (PEM) for servers that ask for one, those that signed it behind it", func(c *TLSConfig) value { return stringValue{&c.Cert} }),
		http("key", "FILE", "the key (PEM) of that certificate", func(c *TLSConfig) value { return stringValue{&c.Key} }),
		http("server-name", "NAME", "the name that the server's certificate must have, if it is not the URL's host", func(c *TLSConfig) value { return stringValue{&c.ServerName} }),
	}
}

// check finds what contradicts itself.
func (c *TLSConfig) check() error {
	switch {
	case c.Cert != "" && c.Key == "":
		return usagef("--output-http-cert needs the certificate's key: give --output-http-key too")
	case c.Key != "" && c.Cert == "":
		return usagef("--output-http-key needs the key's certificate: give --output-http-cert too")
	case c.SkipVerify && c.CA != "":
		return usagef("--output-http-skip-verify accepts any certificate, --output-http-ca only some: leave one out")
	}
	return nil
}

// idleTLS says which settings have nothing to act on, for no target is https://.
func idleTLS(cfg *Config) []string {
	var given []string
	for _, out := range cfg.Outputs {
		if out.Kind != OutputHTTP {
			continue
		}
		if strings.HasPrefix(out.Address, "https://") {
			return nil
		}
		c := out.HTTP.TLS
		for _, s := range []struct {
			key string
			is  bool
		}{{"skip-verify", c.SkipVerify}, {"ca", c.CA != ""}, {"cert", c.Cert != ""}, {"server-name", c.ServerName != ""}} {
			if s.is {
				given = append(given, "--output-http "+shown(out.Address)+": --output-http-"+s.key+" changes nothing without https://")
			}
		}
	}
	return given
}

// hinted is an error of a connection with what can be done about it, where that is a flag.
func hinted(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("%w; name who signed it with --output-http-ca, or accept any certificate with --output-http-skip-verify", err)
	case errors.As(err, &host):
		return fmt.Errorf("%w; name whom it is for with --output-http-server-name", err)
	}
	return err
}

// load reads the files and puts what they say into an output's configuration.
func (c *TLSConfig) load(to *output.HTTPConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	to.SkipVerify, to.ServerName = c.SkipVerify, c.ServerName
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return fmt.Errorf("--output-http-ca %w", withoutOp(err))
		}
		to.RootCAs = x509.NewCertPool()
		if !to.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--output-http-ca %s: no certificate in it: want PEM, which begins with -----BEGIN CERTIFICATE-----", c.CA)
		}
	}
	if c.Cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		var file *os.PathError
		switch {
		case !errors.As(err, &file):
			return fmt.Errorf("--output-http-cert %s and --output-http-key %s: %w", c.Cert, c.Key, err)
		case file.Path == c.Key:
			return fmt.Errorf("--output-http-key %w", withoutOp(err))
		}
		return fmt.Errorf("--output-http-cert %w", withoutOp(err))
	}
	to.Certificates = []tls.Certificate{pair}
	return nil
}

// withoutOp is an error about a file without the "open" before its name.
func withoutOp(err error) error {
	var file *os.PathError
	if errors.As(err, &file) {
		return fmt.Errorf("%s: %w", file.Path, file.Err)
	}
	return err
}
