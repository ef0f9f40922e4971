package main

import (
	"time"

	"kagami/output"
)

// A group is a heading of the help, which gathers the options for one job.
type group string

// The groups, in the order of the help.
const (
	groupInputs  group = "Where traffic comes from"
	groupCapture group = "Capturing (--input-raw)"
	groupReading group = "Reading recordings (--input-file)"
	groupOutputs group = "Where it goes"
	groupStream  group = "Streaming (--output-tcp)"
	groupTrust   group = "Between hosts (--output-tcp, --input-tcp)"
	groupNATS    group = "Through a broker (--output-nats, --input-nats)"
	groupHTTP    group = "Sending requests (--output-http)"
	groupWriting group = "Recording (--output-file)"
	groupResults group = "Results, gates and alerts"
	groupCompare group = "Comparing answers (--output-http-compare)"
	groupFilters group = "Choosing and changing requests"
	groupQueues  group = "Samples, queues and limits"
	groupProcess group = "The process"
	groupCat     group = "What is shown"
	groupDemo    group = "The demo"
)

// defaultConnections is how many connections an http output has at most.
const defaultConnections = 128

// groups are those that the help of a role shows. The others' flags work all the same.
func (r Role) groups() []group {
	switch r {
	case RoleListen:
		return []group{groupInputs, groupCapture, groupOutputs, groupStream, groupTrust, groupNATS, groupWriting, groupFilters, groupQueues, groupProcess}
	case RoleReplay:
		return []group{groupInputs, groupReading, groupTrust, groupNATS, groupOutputs, groupHTTP, groupCompare, groupResults, groupFilters, groupQueues, groupProcess}
	}
	return []group{groupInputs, groupCapture, groupReading, groupOutputs, groupStream, groupTrust, groupNATS, groupHTTP, groupCompare, groupResults, groupWriting, groupFilters, groupQueues, groupProcess, groupCat, groupDemo}
}

const (
	engineAuto     = "auto"
	engineRing     = "af_packet"
	engineLibpcap  = "libpcap"
	enginePcapFile = "pcap_file"
	engineVXLAN    = "vxlan"
	engineGeneve   = "geneve"
	engineGoReplay = "raw_socket" // GoReplay's other way of doing what engineRing does
)

// defaultConfig is what holds where nothing was given.
func defaultConfig(role Role) Config {
	c := Config{
		Role:         role,
		DrainTimeout: 5 * time.Second,
		MaxMessage:   16 << 20,
		MemoryLimit:  64 << 20,
		StatsEvery:   5 * time.Second,
		Results:      defaultResults(),
		Compare:      defaultCompare(role),
		State:        StateConfig{Sync: time.Second},
	}
	if role == RoleReplay {
		c.MemoryLimit = 256 << 20 // it does not share its host with production
	}
	return c
}

func defaultInput(kind InputKind) InputConfig {
	c := InputConfig{Kind: kind, SampleBy: "request"}
	switch kind {
	case InputRaw:
		c.Raw = RawConfig{
			Engine:        engineAuto,
			Expire:        2 * time.Second,
			BufferSize:    16 << 20,
			BufferTimeout: 20 * time.Millisecond,
		}
	case InputFile:
		c.File = FileInputConfig{Speed: 1, ReadDepth: 100}
	case InputNATS:
		c.NATS = defaultNATSInput()
	}
	return c
}

func defaultOutput(role Role, kind OutputKind) OutputConfig {
	c := OutputConfig{Kind: kind, SampleBy: "request", QueueMessages: 10_000, QueueBytes: 8 << 20}
	switch kind {
	case OutputHTTP:
		c.HTTP = HTTPConfig{Timeout: 5 * time.Second, Workers: defaultConnections, IdleTimeout: 2 * time.Second, Ambiguous: "drop", Version: "auto",
			WebSockets: output.DefaultWebSockets, WebSocketIdle: output.DefaultWebSocketIdle}
	case OutputTCP:
		c.TCP = TCPOutputConfig{Compress: compressNone, SpoolSize: 1 << 30, SpoolSync: time.Second}
	case OutputNATS:
		c.NATS = defaultNATSOutput()
	case OutputFile:
		c.File = FileOutputConfig{FlushInterval: time.Second, Sync: FileSyncNever, Compress: compressNone}
		if output.CanWatchDisk {
			c.File.MinFree = 128 << 20 // others, production first, need the disk too
		}
		if role == RoleGor {
			c.File.SizeLimit, c.File.QueueLimit, c.File.MaxSize = 32<<20, 256, 1<<40
		}
	}
	return c
}

func inputOptions() []option {
	in := func(flag, key, arg, help string) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupInputs, scope: scopeInput, kind: key, entry: true}
	}
	options := []option{
		in("input-raw", "raw", "ADDRESS", "capture packets at [interface or IP address]:port[,port…], as :8080 or eth0:80,443; or to pods, "+
			"as k8s://NAMESPACE/deployment/NAME:80; or read them from a packet file, as dump.pcap"),
		in("input-tcp", "tcp", "ADDRESS", "take in what listeners stream, at [host]:port"),
		in("input-nats", "nats", "URL", "take messages from a stream of NATS JetStream, at nats://host[:port][,host…][/stream]; all replayers share the work"),
		in("input-file", "file", "PATTERN", "read recordings (.gor, .kgm, also .gz): a path or a pattern of paths; several are merged by time"),
		in("input-dummy", "dummy", "TEXT", "make up a request a second, to try outputs"),
	}
	for i, notFor := range []Role{RoleReplay, RoleListen, RoleListen, RoleListen, RoleReplay} {
		options[i].notFor = notFor
	}
	return options
}

func captureOptions() []option {
	raw := func(key, arg, help string, bind func(c *RawConfig) value) option {
		return option{flag: "input-raw-" + key, key: key, arg: arg, help: help, group: groupCapture, scope: scopeInput, kind: "raw",
			bind: func(t *subject) value { return bind(&t.input.Raw) }}
	}
	protocol := raw("protocol", "NAME", "http", func(*RawConfig) value { return protocolValue{} })
	protocol.hidden = true
	return []option{
		protocol,
		raw("track-response", "", "capture production's answers too", func(c *RawConfig) value { return boolValue{&c.TrackResponse} }),
		raw("response-heads", "SIZE", "the same, but of each of their packets only so many bytes, as 2kb: enough for heads", func(c *RawConfig) value { return sizeValue{&c.ResponseHeads, 256} }),
		raw("engine", "NAME", "how packets are read: auto (af_packet where it can do what is asked for), af_packet, libpcap, pcap_file; vxlan or geneve for what others mirror to this host by UDP", func(c *RawConfig) value { return engineValue{&c.Engine} }),
		raw("expire", "TIME", "drop an unfinished message when nothing came for so long", func(c *RawConfig) value { return durationValue{&c.Expire, time.Millisecond} }),
		raw("allow-incomplete", "", "hand unfinished messages on instead", func(c *RawConfig) value { return boolValue{&c.AllowIncomplete} }),
		raw("realip-header", "NAME", "put the client's address into this header of requests", func(c *RawConfig) value { return headerValue{&c.RealIPHeader} }),
		raw("bpf-filter", "EXPR", "this packet filter (as tcpdump's) in place of the one made from the address", func(c *RawConfig) value { return stringValue{&c.BPFFilter} }),
		raw("buffer-size", "SIZE", "the kernel's buffer for packets, all interfaces together", func(c *RawConfig) value { return sizeValue{&c.BufferSize, 64 << 10} }),
		raw("buffer-timeout", "TIME", "how long the kernel may hold packets back to hand over many at once", func(c *RawConfig) value { return durationValue{&c.BufferTimeout, time.Millisecond} }),
		raw("promisc", "", "also packets that are not for this host", func(c *RawConfig) value { return boolValue{&c.Promiscuous} }),
		raw("monitor", "", "put a wireless interface into monitor mode", func(c *RawConfig) value { return boolValue{&c.Monitor} }),
		raw("timestamp-type", "NAME", "where time stamps come from, as libpcap names it: host, adapter, …", func(c *RawConfig) value { return timestampValue{&c.TimestampType} }),
		raw("ignore-interface", "NAME", "leave out this interface; may be repeated", func(c *RawConfig) value { return linesValue{&c.IgnoreInterfaces} }),
		raw("k8s-node", "NAME", "of k8s://, only pods on this node: as a DaemonSet has it from spec.nodeName", func(c *RawConfig) value { return stringValue{&c.Node} }),
		raw("k8s-credentials", "FOLDER", "of k8s://, where the files token and ca.crt are for the API at KUBERNETES_SERVICE_HOST and _PORT, if they are not where pods have them", func(c *RawConfig) value { return stringValue{&c.Credentials} }),
		raw("vlan", "", "packets in a VLAN tag too, on Ethernet interfaces given by name", func(c *RawConfig) value { return boolValue{&c.VLAN} }),
		raw("vlan-vid", "NUMBER", "only packets of this VLAN; may be repeated", func(c *RawConfig) value { return vlanValue{&c.VLANIDs} }),
		raw("vxlan-port", "NUMBER", "the UDP port that --input-raw-engine vxlan (4789) or geneve (6081) receives at", func(c *RawConfig) value { return portValue{&c.VXLANPort} }),
		raw("vxlan-vni", "NUMBER", "only packets of this VXLAN or Geneve network, or with -NUMBER all but those; may be repeated", func(c *RawConfig) value { return vniValue{&c.VNIs} }),
	}
}

func fileInputOptions() []option {
	file := func(key, arg, help string, bind func(c *FileInputConfig) value) option {
		return option{flag: "input-file-" + key, key: key, arg: arg, help: help, group: groupReading, scope: scopeInput, kind: "file",
			bind: func(t *subject) value { return bind(&t.input.File) }}
	}
	return []option{
		file("loop", "", "begin again at the end", func(c *FileInputConfig) value { return boolValue{&c.Loop} }),
		file("read-depth", "NUMBER", "how many records of a file are put in order", func(c *FileInputConfig) value { return intValue{&c.ReadDepth, 1} }),
		file("max-wait", "TIME", "cut pauses in the recording down to this", func(c *FileInputConfig) value { return durationValue{&c.MaxWait, 0} }),
		file("dry-run", "", "say how much is in there and how long it will take, and send nothing", func(c *FileInputConfig) value { return boolValue{&c.DryRun} }),
	}
}

func outputOptions() []option {
	out := func(flag, key, arg, help string) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupOutputs, scope: scopeOutput, kind: key, entry: true}
	}
	return []option{
		out("output-http", "http", "URL", "send requests to a server"),
		out("output-tcp", "tcp", "HOST:PORT", "stream everything to a replayer; several with commas between share it, by connection"),
		out("output-nats", "nats", "URL", "publish everything to a stream of NATS JetStream, at nats://[user:password@]host[:port][,host…][/stream]"),
		out("output-file", "file", "PATH", "record everything, as .gor or .kgm, also .gz; the name may hold %Y %m %d %H %M %S %NS %i %r %t"),
		out("output-stdout", "stdout", "", "write .gor records to standard output"),
		out("output-null", "null", "", "count everything and throw it away"),
		process("split-output", "", groupOutputs, "each exchange goes to one of the outputs, not to all: by a hash of its id, or with =round-robin by turns among those that can be reached", func(c *Config) value { return splitValue{c} }),
	}
}

func httpOptions() []option {
	http := func(flag, key, arg, help string, bind func(c *HTTPConfig) value) option {
		return option{flag: flag, key: key, arg: arg, help: help, group: groupHTTP, scope: scopeOutput, kind: "http",
			bind: func(t *subject) value { return bind(&t.output.HTTP) }}
	}
	return []option{
		http("output-http-timeout", "timeout", "TIME", "for a request and its answer", func(c *HTTPConfig) value { return durationValue{&c.Timeout, time.Millisecond} }),
		http("output-http-workers", "workers", "NUMBER", "connections at most; 0 is 128", func(c *HTTPConfig) value { return connectionsValue{&c.Workers} }),
		http("output-http-worker-timeout", "worker-timeout", "TIME", "close a connection that had nothing to do for so long", func(c *HTTPConfig) value { return durationValue{&c.IdleTimeout, time.Millisecond} }),
		http("output-http-track-response", "track-response", "", "hand staging's answers to the other outputs", func(c *HTTPConfig) value { return boolValue{&c.TrackResponse} }),
		http("output-http-redirects", "redirects", "NUMBER", "follow so many redirects, as long as they stay on the target", func(c *HTTPConfig) value { return intValue{&c.Redirects, 0} }),
		http("output-http-version", "version", "VERSION", "HTTP/1.1 (1) or HTTP/2 (2); auto sends as HTTP/2 what was captured as that, where the target speaks it", func(c *HTTPConfig) value { return enumValue[string]{&c.Version, []string{"auto", "1", "2"}} }),
		http("output-http-websockets", "websockets", "NUMBER", "WebSockets open at once, at most; more are not asked for", func(c *HTTPConfig) value { return intValue{&c.WebSockets, 1} }),
		http("output-http-websocket-idle", "websocket-idle", "TIME", "close a WebSocket that had no frame to send for so long", func(c *HTTPConfig) value { return durationValue{&c.WebSocketIdle, time.Millisecond} }),
		http("http-original-host", "original-host", "", "keep the Host header as captured", func(c *HTTPConfig) value { return boolValue{&c.OriginalHost} }),
		http("output-http-ambiguous", "ambiguous", "WHAT", "a request whose framing can be read in two ways: drop, or own-connection to send it on one of its own",
			func(c *HTTPConfig) value { return enumValue[string]{&c.Ambiguous, []string{"drop", "own-connection"}} }),
		http("output-http-no-replay-header", "no-replay-header", "", "do not add Kagami-Replay: ID to requests", func(c *HTTPConfig) value { return boolValue{&c.NoReplayHeader} }),
		keepOrderOption(),
		process("safe-methods", "", groupHTTP, "send GET, HEAD and OPTIONS only", func(c *Config) value { return boolValue{&c.SafeMethods} }),
		process("dry-run", "", groupHTTP, "say what would be sent, and send nothing", func(c *Config) value { return boolValue{&c.DryRun} }),
		process("allow-self", "", groupHTTP, "allow a target that is itself captured", func(c *Config) value { return boolValue{&c.AllowSelf} }),
	}
}
