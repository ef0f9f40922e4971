package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"kagami/internal/trust"
)

// A TokenConfig is where kagami token does its work.
type TokenConfig struct {
	Dir         string // "" is the default one
	JoinAddress string // "" is this host's name and port 28020
	JoinOut     string // "" is NAME.join in Dir
}

// tokenCatalog is what kagami token knows.
func tokenCatalog() *catalog {
	token := func(flag, arg, help string, bind func(c *TokenConfig) value) option {
		return option{flag: flag, arg: arg, help: help, group: groupTrust, scope: scopeToken, bind: func(t *subject) value { return bind(t.token) }}
	}
	return &catalog{options: append([]option{
		token("tls-dir", "DIR", "where the replayer keeps its key and tokens (default /var/lib/kagami for root, else ~/.local/state/kagami)",
			func(c *TokenConfig) value { return stringValue{&c.Dir} }),
		token("join-address", "HOST:PORT", "what the join file says where the replayer is (default this host's name, port 28020)",
			func(c *TokenConfig) value { return stringValue{&c.JoinAddress} }),
		token("join-out", "FILE", "where the join file goes (default NAME.join in the directory); - is standard output",
			func(c *TokenConfig) value { return stringValue{&c.JoinOut} }),
	}, helpOptions()...)}
}

func tokenManual() manual {
	return manual{
		does: "kagami token: say which listeners may stream to the replayer of this host",
		usage: []string{
			"kagami token add NAME       make a token, and the join file for the listeners that are to have it",
			"kagami token revoke NAME    who has it is cut off within a second, and not let in again",
			"kagami token list           the names, and since when",
		},
		examples: []string{
			"kagami token add edge --join-address replayer.example.com:28020 --join-out edge.join",
			"kagami token revoke default",
		},
	}
}

// runToken does what args say.
func runToken(_ context.Context, cfg TokenConfig, args []string, c Console) error {
	verb, name := "", ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch {
	case verb == "list" && len(args) == 1:
	case (verb == "add" || verb == "revoke") && len(args) == 2:
		name = args[1]
		if err := trust.CheckTokenName(name); err != nil {
			return usageError{err}
		}
	default:
		return usagef("want kagami token add NAME, kagami token revoke NAME or kagami token list")
	}
	dir, err := cfg.open(verb == "add")
	if err != nil {
		return fmt.Errorf("%w; say where the replayer's key is with --tls-dir DIR", err)
	}
	switch verb {
	case "add":
		return addToken(dir, cfg, name, c)
	case "revoke":
		if err = dir.Revoke(name); err == nil {
			c.Log.Info("revoked: who streams with it is cut off within a second", "token", name, "dir", dir.Path())
		}
		return err
	}
	return listTokens(dir, c)
}

// open opens the directory. It makes one only if that is meant.
func (cfg *TokenConfig) open(make bool) (*trust.Dir, error) {
	path := cfg.Dir
	if path == "" {
		var err error
		if path, err = defaultTrustDir(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(path); err != nil && !make {
		return nil, err
	}
	return trust.OpenDir(path)
}

func addToken(dir *trust.Dir, cfg TokenConfig, name string, c Console) error {
	address := cfg.JoinAddress
	if address == "" {
		address = listenerID() + ":28020"
	} else if err := checkHostPort(address, false); err != nil {
		return usagef("--join-address %s: %w", address, err)
	}
	if cfg.JoinOut == "-" {
		return dir.AddTo(c.Stdout, name, address)
	}
	file, err := dir.Add(name, address, cfg.JoinOut)
	if err != nil {
		return err
	}
	c.Log.Info("copy this join file to the listeners that are to have it, then delete it here", "token", name, "file", file, "address", address)
	return nil
}

func listTokens(dir *trust.Dir, c Console) error {
	tokens, err := dir.Tokens()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 8, 2, ' ', 0)
	for _, t := range tokens {
		state := "valid"
		if t.Err != nil {
			state = t.Err.Error()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.Created.UTC().Format(time.RFC3339), state)
	}
	return w.Flush()
}
