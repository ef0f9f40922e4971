//go:build !linux

package main

import "kagami/capture/live"

// examineRaw looks whether there is libpcap, the only engine here.
func examineRaw(in *InputConfig) []finding {
	if in.Raw.Engine == enginePcapFile || in.Raw.mirrored() {
		return nil
	}
	if _, err := live.Devices(); err != nil {
		return []finding{{missing, "engine", err.Error(), "take the build of kagami with libpcap"}}
	}
	return []finding{{fine, "engine", "libpcap is built in", ""}}
}

// examineHost looks at nothing here: what it asks is Linux's to say.
func examineHost(*Config) []finding { return nil }
