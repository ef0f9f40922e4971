package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kagami"
	"kagami/output"
)

// newTCP makes the sending end of a stream, or of several among which messages are shared.
func (m *mirror) newTCP(cfg OutputConfig, index int) (output.Output, error) {
	addresses := strings.Split(cfg.Address, ",")
	var members []*output.TCP
	for _, address := range addresses {
		t, err := m.newReplayer(cfg, address, len(addresses))
		if err != nil {
			errs := []error{fmt.Errorf("--output-tcp %s: %w", address, err)}
			for _, t := range members {
				errs = append(errs, t.Close())
			}
			return nil, errors.Join(errs...)
		}
		members = append(members, t)
	}
	if cfg.TCP.Spool != "" {
		m.strayedSpools(cfg.TCP.Spool)
	}
	if len(members) == 1 {
		return members[0], nil
	}
	n := len(members)
	return output.NewBalance(output.BalanceConfig{
		Name:          "tcp://" + cfg.Address,
		FailoverAfter: cfg.TCP.FailoverAfter,
		Queue:         output.QueueConfig{Index: index, Messages: max(1, cfg.QueueMessages/n), Bytes: max(1, cfg.QueueBytes/int64(n)), OnFull: queueOnFull(cfg.OnFull)},
		Notify: func(address string, away bool, moved, doubtful int) {
			if away {
				m.log.Warn("a replayer is away, and its share goes to the others", "replayer", address, "moved", moved, "in_doubt", doubtful)
				return
			}
			m.log.Info("a replayer has its share again", "replayer", address)
		},
	}, members...), nil
}

// newReplayer makes the sending end of a stream to one of n replayers that share an output.
func (m *mirror) newReplayer(cfg OutputConfig, address string, n int) (*output.TCP, error) {
	known, err := m.clientTrust(cfg, address)
	if err != nil {
		return nil, err
	}
	t, err := output.NewTCP(output.TCPConfig{
		Address:   address,
		Trust:     known,
		ID:        listenerID(),
		Insecure:  m.cfg.Insecure,
		Responses: m.cfg.bringsAnswers(),
		Window:    m.unacknowledged(output.DefaultTCPWindow) / int64(n),
		Compress:  cfg.TCP.Compress == compressZstd,
		Spool:     m.spool(cfg, address),
		Notify: func(err error) {
			if err != nil {
				m.log.Warn("no stream to the replayer", "replayer", address, "error", err)
				return
			}
			m.log.Info("streaming", "replayer", address)
		},
	})
	if err == nil && cfg.TCP.Spool != "" {
		m.spools = append(m.spools, spoolLine{"tcp://" + address, t})
		m.sayFound(t.Found(), address)
	}
	return t, err
}

// listenerID is the name by which the replayer's log knows this host.
func listenerID() string {
	name, err := os.Hostname()
	if err != nil {
		return "listener"
	}
	return name
}

// A spoolLine is a spool and the name of its output.
type spoolLine struct {
	name string
	tcp  *output.TCP
}

// spool is where what one replayer has not acknowledged is kept, nil for nowhere.
func (m *mirror) spool(cfg OutputConfig, address string) *output.TCPSpool {
	if cfg.TCP.Spool == "" {
		return nil
	}
	dir := filepath.Join(cfg.TCP.Spool, spoolName(address))
	sync := cmp.Or(cfg.TCP.SpoolSync, -time.Second) // 0 is at once
	return &output.TCPSpool{
		Dir: dir, Name: "tcp://" + address,
		MaxBytes: cfg.TCP.SpoolSize, MaxAge: cfg.TCP.SpoolAge, SyncEvery: sync, OnFull: queueOnFull(cfg.OnFull),
		Notify: func(err error) {
			if err != nil {
				m.log.Error("the spool's disk is at fault: what has no room in memory is dropped meanwhile", "spool", dir, "error", err)
				return
			}
			m.log.Info("the spool can be written again", "spool", dir)
		},
	}
}

// spoolName is the directory of a replayer's spool: its address, with what no directory's name should have made _.
func spoolName(address string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, address)
}

// sayFound says what an earlier process left in a spool.
func (m *mirror) sayFound(f output.SpoolFound, address string) {
	if f.Torn > 0 {
		m.log.Warn("the end of the spool was cut off in the middle of a batch, as when a process is killed or the power fails",
			"replayer", address, "bytes", f.Torn, "messages", f.TornMessages)
	}
	if f.Messages > 0 {
		m.log.Info("found in the spool, and to be delivered", "replayer", address, "messages", f.Messages, "bytes", f.Bytes,
			"oldest", f.Oldest.Format(time.RFC3339))
	}
}

// strayedSpools warns of spools in dir that belong to no replayer that is streamed to.
func (m *mirror) strayedSpools(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		m.log.Warn("the spool's directory cannot be read", "spool", dir, "error", err)
		return
	}
	ours := map[string]bool{}
	for _, out := range m.cfg.Outputs {
		for _, address := range strings.Split(out.Address, ",") {
			ours[spoolName(address)] = true
		}
	}
	for _, e := range entries {
		left, _ := filepath.Glob(filepath.Join(dir, e.Name(), "*.kgm"))
		if e.IsDir() && !ours[e.Name()] && len(left) > 0 {
			m.log.Warn("a spool holds messages for a replayer that is none of --output-tcp: stream to it again, or read them with kagami cat, or delete it",
				"spool", filepath.Join(dir, e.Name()), "files", len(left))
		}
	}
}

// spoolBooks are the lines of the ledger behind an output that has spools: what an earlier process left and what
// moved from one replayer to another goes, with what comes out of the output, into the spools.
type spoolBooks struct{ carried, spools []*kagami.Stage }

func spoolBooksOf(out output.Output) (b spoolBooks) {
	members := []*output.TCP{}
	switch out := out.(type) {
	case *output.TCP:
		members = append(members, out)
	case *output.Balance:
		members = out.Members()
	}
	for _, t := range members {
		if carried, spool := t.Stages(); spool != nil {
			b.carried, b.spools = append(b.carried, carried), append(b.spools, spool)
		}
	}
	if balance, ok := out.(*output.Balance); ok && len(b.spools) > 0 {
		b.carried = append(b.carried, balance.Failover())
	}
	return b
}

// add adds the lines to the ledger.
func (b spoolBooks) add(l *kagami.Ledger) {
	for _, s := range slices.Concat(b.carried, b.spools) {
		l.Add(s)
	}
}

// sayLeft says what stays in the spools.
func (m *mirror) sayLeft() {
	for _, s := range m.spools {
		if _, stage := s.tcp.Stages(); stage.InFlight() > 0 {
			m.log.Info("stays in the spool for the next start", "output", s.name, "messages", stage.InFlight())
		}
	}
}
