package main

import "kagami"

// finish fills in the defaults that depend on the whole, and checks it.
func finish(cfg *Config) error {
	if len(cfg.Inputs) == 0 {
		return usagef("no input: say where traffic comes from, as in --input-raw :8080, --input-tcp :28020, --input-nats nats://broker or --input-file traffic.gor")
	}
	if len(cfg.Outputs) == 0 {
		return usagef("no output: say where it goes, as in --output-http http://staging:8080, --output-tcp replayer:28020, " +
			"--output-nats nats://broker, --output-file traffic.gor or --output-stdout")
	}
	if len(cfg.Outputs) > kagami.MaxOutputs {
		return usagef("%d outputs: there can be %d", len(cfg.Outputs), kagami.MaxOutputs)
	}
	if err := checkVXLANOnce(cfg.Inputs); err != nil {
		return err
	}
	if err := checkState(cfg); err != nil {
		return err
	}
	if err := checkResults(cfg); err != nil {
		return err
	}
	if err := checkCompare(cfg); err != nil {
		return err
	}
	if cfg.SplitTurns && cfg.KeepOrder {
		return usagef("--split-output=%s and --recognize-tcp-sessions: the requests of a connection can go by turns or in their order; leave one out", splitTurns)
	}
	full := OnFullWait
	for _, in := range cfg.Inputs {
		if !in.canWait() && !(in.Kind == InputTCP && cfg.State.Dir != "") {
			full = OnFullDrop
		}
	}
	for i := range cfg.Outputs {
		if out := &cfg.Outputs[i]; out.OnFull == "" {
			out.OnFull = full
		}
	}
	return nil
}

// canWait reports whether the input waits for slow outputs where nobody says
// otherwise: it reads from a file or a broker, and nothing is lost by it.
func (in *InputConfig) canWait() bool {
	return in.Kind == InputFile || in.Kind == InputNATS || in.Kind == InputRaw && in.Raw.Engine == enginePcapFile
}
