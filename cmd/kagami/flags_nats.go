package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"kagami/internal/broker"
)

// A NATSConfig is how a broker is known, and how we are known to it.
type NATSConfig struct {
	Creds     string // file with a user's JWT and key; "" none
	CA        string // file of certificates that are trusted instead of the system's; "" none
	Cert, Key string // files of our certificate and its key; "" none
}

// A NATSInputConfig is how messages are taken from a broker.
type NATSInputConfig struct {
	NATSConfig
	Speed float64 // 1 is as recorded, 2 twice as fast
	Max   bool    // as they come; Speed does not matter
	Group string  // replayers that share the work
}

// A NATSOutputConfig is how messages are published, and how a stream is made
// where there is none.
type NATSOutputConfig struct {
	NATSConfig
	Shards   int
	Replicas int
	MaxBytes int64
	MaxAge   time.Duration
	Linger   time.Duration // how long a batch waits to grow
}

func defaultNATSInput() NATSInputConfig {
	return NATSInputConfig{Speed: 1, Max: true, Group: "kagami"}
}

func defaultNATSOutput() NATSOutputConfig {
	return NATSOutputConfig{Shards: broker.DefaultShards, Replicas: broker.DefaultReplicas, MaxBytes: broker.DefaultMaxBytes, MaxAge: broker.DefaultMaxAge}
}

func natsOptions() []option {
	both := func(key, arg, help string, bind func(c *NATSConfig) value) option {
		return option{flag: "nats-" + key, key: key, arg: arg, help: help, group: groupNATS, scope: scopeInput | scopeOutput, kind: "nats",
			bind: func(t *subject) value {
				if t.input != nil {
					return bind(&t.input.NATS.NATSConfig)
				}
				return bind(&t.output.NATS.NATSConfig)
			}}
	}
	in := func(key, arg, help string, bind func(c *NATSInputConfig) value) option {
		return option{flag: "input-nats-" + key, key: key, arg: arg, help: help, group: groupNATS, scope: scopeInput, kind: "nats", notFor: RoleListen,
			bind: func(t *subject) value { return bind(&t.input.NATS) }}
	}
	out := func(key, arg, help string, bind func(c *NATSOutputConfig) value) option {
		return option{flag: "output-nats-" + key, key: key, arg: arg, help: help, group: groupNATS, scope: scopeOutput, kind: "nats", notFor: RoleReplay,
			bind: func(t *subject) value { return bind(&t.output.NATS) }}
	}
	return []option{
		both("creds", "FILE", "prove yourself with the JWT and key in this file (as nsc makes it); user and password go into the address", func(c *NATSConfig) value { return stringValue{&c.Creds} }),
		both("ca", "FILE", "trust the certificates in this file (PEM) instead of the system's", func(c *NATSConfig) value { return stringValue{&c.CA} }),
		both("cert", "FILE", "our certificate (PEM) for a broker that asks for one", func(c *NATSConfig) value { return stringValue{&c.Cert} }),
		both("key", "FILE", "the key (PEM) of that certificate", func(c *NATSConfig) value { return stringValue{&c.Key} }),
		out("shards", "NUMBER", "make a stream of so many shards, where there is none: at most so many replayers can work at a time", func(c *NATSOutputConfig) value { return shardsValue{&c.Shards} }),
		out("replicas", "NUMBER", "and keep it on so many servers of the cluster: 1, 3 or 5", func(c *NATSOutputConfig) value { return intValue{&c.Replicas, 1} }),
		out("max-bytes", "SIZE", "and let no more wait in it than this", func(c *NATSOutputConfig) value { return sizeValue{&c.MaxBytes, 1 << 20} }),
		out("max-age", "TIME", "and for no longer than this", func(c *NATSOutputConfig) value { return durationValue{&c.MaxAge, time.Second} }),
		out("linger", "TIME", "let a batch wait so long to grow before it is published: a broker with many listeners has less to do then", func(c *NATSOutputConfig) value { return durationValue{&c.Linger, 0} }),
		in("group", "NAME", "replayers with the same group share the work", func(c *NATSInputConfig) value { return groupValue{&c.Group} }),
	}
}

// shardsValue is a number of shards.
type shardsValue struct{ p *int }

func (v shardsValue) Set(s string) error {
	n := 0
	if err := (intValue{&n, 1}).Set(s); err != nil {
		return err
	}
	if n > broker.MaxShards {
		return fmt.Errorf("want at most %d", broker.MaxShards)
	}
	*v.p = n
	return nil
}

func (v shardsValue) String() string { return intValue{v.p, 1}.String() }

// groupValue is the name of a group of replayers.
type groupValue struct{ p *string }

func (v groupValue) Set(s string) error {
	if !broker.IsName(s) {
		return fmt.Errorf("want letters, digits, - and _, at most 64")
	}
	*v.p = s
	return nil
}

func (v groupValue) String() string { return *v.p }

// checkNATS checks the address of a stream.
func checkNATS(address string) error {
	_, err := broker.ParseAddress(address)
	return err
}

// redacted is the address without user and password.
func redacted(address string) string {
	a, err := broker.ParseAddress(address)
	if err != nil {
		return "nats"
	}
	return a.String()
}

// load reads the files, and returns how to connect.
func (c *NATSConfig) load(address string, insecure bool) (cfg broker.Config, err error) {
	if (c.Cert == "") != (c.Key == "") {
		return cfg, usagef("a certificate and its key belong together: give both --nats-cert and --nats-key, or none")
	}
	if cfg.Address, err = broker.ParseAddress(address); err != nil {
		return cfg, err
	}
	cfg.Name, cfg.Insecure = "kagami "+listenerID(), insecure
	if c.Creds != "" {
		if _, err := os.Stat(c.Creds); err != nil {
			return cfg, fmt.Errorf("--nats-creds %w", withoutOp(err))
		}
		cfg.CredsFile = c.Creds
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return cfg, fmt.Errorf("--nats-ca %w", withoutOp(err))
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return cfg, fmt.Errorf("--nats-ca %s: no certificate in it: want PEM, which begins with -----BEGIN CERTIFICATE-----", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return cfg, fmt.Errorf("--nats-cert %s and --nats-key %s: %w", c.Cert, c.Key, withoutOp(err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
