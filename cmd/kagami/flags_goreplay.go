package main

import "slices"

// refusals are the flags of GoReplay's that Kagami does not have (yet). Taking
// one and doing nothing would be worse than saying so.
func refusals() []refusal {
	const (
		later = "not supported yet"
		ws    = later + ": stream with --output-tcp"
		tls   = "Kagami has TLS between listener and replayer by itself: the replayer makes a key and a join file for --join-file; " +
			"with certificates of your own say --tls-ca, --tls-cert and --tls-key on both sides"
		verify   = "the replayer is always verified: by the listener's --join-file, or --tls-ca"
		binary   = later + ": Kagami copies HTTP"
		kafka    = "Kafka " + later + ": stream with --output-tcp and --input-tcp, or record with --output-file"
		s3       = "S3 " + later + ": record to a local file and copy that"
		profiles = "profiles are at /debug/pprof/ of --http-pprof ADDRESS"
	)
	value := func(instead string, flags ...string) (rs []refusal) {
		for _, f := range flags {
			rs = append(rs, refusal{f, false, instead})
		}
		return rs
	}
	on := func(instead string, flags ...string) (rs []refusal) {
		for _, f := range flags {
			rs = append(rs, refusal{f, true, instead})
		}
		return rs
	}
	return slices.Concat(
		value(later+": for headers, parameters and targets there are --http-set-header, --http-set-param, --http-rewrite-url and --http-rewrite-header", "middleware"),
		on(later+": messages are recorded as they were sent", "prettify-http"),
		on(tls, "input-tcp-secure", "output-tcp-secure"),
		on(verify, "output-tcp-skip-verify"),
		value(tls, "input-tcp-certificate", "input-tcp-certificate-key"),
		value("the stream is one connection, which keeps the order: for more give --output-tcp several times, with --split-output", "output-tcp-workers"),
		value(ws, "output-ws", "output-ws-workers"),
		on(ws, "output-ws-skip-verify", "output-ws-sticky", "output-ws-stats"),
		value(s3, "output-file-buffer"),
		value("there are no idle workers in Kagami: connections are opened when they are needed", "output-http-workers-min"),
		value("each answer is handed on up to its first 1mb: leave it out", "output-http-response-buffer"),
		value(later+": record answers with --output-http-track-response and --output-file", "output-http-elasticsearch"),
		value(binary, "output-binary", "output-binary-workers", "output-binary-timeout", "output-tcp-response-buffer"),
		on(binary, "output-binary-track-response", "output-binary-debug"),
		value(kafka, "output-kafka-host", "output-kafka-topic", "output-kafka-mechanism", "output-kafka-username", "output-kafka-password",
			"input-kafka-host", "input-kafka-topic", "input-kafka-mechanism", "input-kafka-username", "input-kafka-password", "input-kafka-offset",
			"kafka-tls-ca-cert", "kafka-tls-client-cert", "kafka-tls-client-key"),
		on(kafka, "output-kafka-json-format", "output-kafka-use-sasl", "input-kafka-json-format", "input-kafka-use-sasl"),
		value(profiles, "cpuprofile", "memprofile"),
		// Flags of GoReplay 1.
		value("GoReplay dropped it: capture with --input-raw", "input-http"),
		on("say --verbose 1", "debug"),
		on("say --output-http-track-response and --output-stdout", "output-http-debug"),
		on("not needed: requests are sent as they came", "output-http-compatibility-mode"),
		on("it costs a wake-up for each packet: see --input-raw-buffer-timeout", "input-raw-immediate-mode"),
	)
}

// nothings are the flags of GoReplay's that ask for what Kagami always does.
func nothings() []nothing {
	const stats = "--stats shows every input and output"
	return []nothing{
		{"input-raw-override-snaplen", true, "packets are captured whole"},
		{"input-raw-stats", true, stats},
		{"output-http-stats", true, stats},
		{"output-tcp-stats", true, stats},
		{"output-tcp-sticky", true, "the stream is one connection"},
	}
}

// renamings are older names of flags: GoReplay's own, and what it calls
// something that has another name here.
func renamings() []renaming {
	return []renaming{
		{"copy-buffer-size", "max-message"},
		{"output-http-header", "http-set-header"},
		{"output-http-method", "http-allow-method"},
		{"output-http-url-regexp", "http-allow-url"},
		{"output-http-rewrite-url", "http-rewrite-url"},
		{"output-http-header-filter", "http-allow-header"},
		{"output-http-header-hash-filter", "http-header-limiter"},
	}
}
