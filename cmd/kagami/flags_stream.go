package main

import (
	"errors"
	"strings"
	"time"
)

// The values of --output-tcp-compress and --output-file-compress.
const (
	compressNone = "none"
	compressZstd = "zstd"
)

func compressValue(p *string) value {
	return enumValue[string]{p, []string{compressNone, compressZstd}}
}

func streamOptions() []option {
	tcp := func(flag, key, arg, help string, bind func(c *TCPOutputConfig) value) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupStream, scope: scopeOutput, kind: "tcp",
			bind: func(t *subject) value { return bind(&t.output.TCP) }}
	}
	return []option{
		tcp("output-tcp-compress", "compress", "HOW", "what is streamed: none or zstd, which the replayer has to know",
			func(c *TCPOutputConfig) value { return compressValue(&c.Compress) }),
		tcp("spool", "spool", "DIR", "keep on disk what the replayer has not acknowledged, and go on with it after a restart; each replayer has a directory below",
			func(c *TCPOutputConfig) value { return stringValue{&c.Spool} }),
		tcp("spool-size", "spool-size", "SIZE", "how large the files for one replayer get; what comes then is dropped (with --on-full wait it waits)",
			func(c *TCPOutputConfig) value { return sizeValue{&c.SpoolSize, 64 << 10} }),
		tcp("spool-age", "spool-age", "TIME", "drop what is older than this, the oldest first; 0 is never",
			func(c *TCPOutputConfig) value { return durationValue{&c.SpoolAge, 0} }),
		tcp("spool-sync", "spool-sync", "TIME", "how much of the latest a power failure may take; 0 is none, at the price of a disk write each time",
			func(c *TCPOutputConfig) value { return durationValue{&c.SpoolSync, 0} }),
		tcp("failover-after", "failover-after", "TIME", "of several replayers with commas between, give the share of one that was away for so long to the others, "+
			"with what it has not acknowledged; 0 is never", func(c *TCPOutputConfig) value { return durationValue{&c.FailoverAfter, 0} }),
	}
}

// checkReplayers checks the address of a tcp output, one or several, and what goes with it.
func checkReplayers(out *OutputConfig) error {
	seen := map[string]bool{}
	addresses := strings.Split(out.Address, ",")
	for _, address := range addresses {
		if err := checkHostPort(address, false); err != nil {
			return err
		}
		if seen[spoolName(address)] {
			return errors.New(address + " is there twice")
		}
		seen[spoolName(address)] = true
	}
	c := &out.TCP
	if c.FailoverAfter > 0 && c.FailoverAfter < 10*time.Millisecond {
		return errors.New("--failover-after: want 10ms or more, or 0 for never")
	}
	if c.SpoolAge > 0 && c.SpoolAge < time.Second {
		return errors.New("--spool-age: want 1s or more, or 0 for never")
	}
	return nil
}

// idleStream says which settings of streams have nothing to act on.
func idleStream(g given, cfg *Config) []string {
	spool, several, kgm := false, false, false
	for _, out := range cfg.Outputs {
		spool = spool || out.TCP.Spool != ""
		several = several || out.Kind == OutputTCP && strings.Contains(out.Address, ",")
		kgm = kgm || out.Kind == OutputFile && strings.Contains(out.Address, ".kgm")
	}
	switch flag := g.option.flag; {
	case strings.HasPrefix(flag, "spool-") && !spool:
		return []string{g.at + " changes nothing without --spool"}
	case flag == "failover-after" && !several:
		return []string{g.at + " changes nothing: it is for several replayers in one --output-tcp, with commas between"}
	case flag == "output-file-compress" && !kgm:
		return []string{g.at + " changes nothing: it is for .kgm"}
	}
	return nil
}
