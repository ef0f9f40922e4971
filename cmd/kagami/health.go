package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"kagami/output"
)

// healthTimeout is how long a process may take to say how it is.
const healthTimeout = 3 * time.Second

// healthCatalog is what kagami health shows of the mirror's flags. It takes the
// same variables and the same file, so that it finds the process that has them.
func healthCatalog() *catalog {
	all, c := mirrorCatalog(), &catalog{}
	show := func(flag, help string) {
		o, _ := all.option(flag)
		shown := *o
		shown.help = help
		c.options = append(c.options, shown)
	}
	show("admin", "where the process serves /healthz: what it was given as --admin")
	show("config", "the file that the process was given, for the address in it")
	c.options = append(c.options, helpOptions()...)
	return c
}

func healthManual() manual {
	return manual{
		does:  "kagami health: ask a kagami that runs on this host how it is",
		usage: []string{"kagami health [flags]"},
		examples: []string{
			"kagami health --admin 127.0.0.1:9090",
			"KAGAMI_ADMIN=127.0.0.1:9090 kagami health",
		},
		more: []string{"It exits with 0 if the process is healthy; with 1 if it is not, or does not answer within three seconds, and says why; with 2 if it " +
			"does not know the address. Healthy is a process that has opened all it was given, is not on its way to its end, and " +
			"none of whose outputs has broken for good. A target that is down, a replayer out of reach and production without traffic are " +
			"no illness: starting anew would mend none of them. Metrics tell of those."},
	}
}

// runHealth asks the process that serves at an address how it is.
func runHealth(ctx context.Context, admin string, c Console) error {
	address, err := healthAddress(admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	// Not the default transport: what is on this host is asked without a proxy.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("no kagami answers at %s: %w", address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	said := strings.TrimSpace(string(text))
	switch resp.StatusCode {
	case http.StatusOK:
		_, err = fmt.Fprintln(c.Stdout, said)
		return err
	case http.StatusServiceUnavailable:
		return fmt.Errorf("not healthy: %s", said)
	}
	return fmt.Errorf("%s answers with %s: is this kagami's --admin?", address, resp.Status)
}

// healthAddress is where to reach what serves at an --admin address.
func healthAddress(admin string) (string, error) {
	if admin == "" {
		return "", usagef("whom to ask? Give the address that the process has, as in --admin 127.0.0.1:9090 or KAGAMI_ADMIN")
	}
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		return "", usageError{err}
	}
	if port == "0" {
		return "", usagef("--admin %s: port 0 is any that is free; the log of the process says which", admin)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// healthy is what /healthz asks. The admin server starts when all is open.
func (m *mirror) healthy() error {
	var errs []error
	if m.ending.Load() {
		errs = append(errs, errors.New("ending: no input is read any more, and what is queued is sent"))
	}
	for _, out := range m.lines() {
		if err := out.queue.Err(); err != nil && !errors.Is(err, output.ErrMaxSize) {
			errs = append(errs, fmt.Errorf("%s: %w", out.name, err))
		}
	}
	if m.state != nil {
		if err := m.state.Err(); err != nil {
			errs = append(errs, fmt.Errorf("--state: %w", err))
		}
	}
	return errors.Join(errs...)
}
