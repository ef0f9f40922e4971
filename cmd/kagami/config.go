package main

import (
	"io"
	"log/slog"
	"slices"
	"time"

	"kagami"
	"kagami/filter"
	"kagami/internal/kube"
)

// A Role is the part that a process plays. It decides defaults and what the
// help shows; every role takes the same flags.
type Role string

// The roles.
const (
	RoleKagami Role = "kagami" // any input, any output
	RoleListen Role = "listen" // beside production: captures, hands on
	RoleReplay Role = "replay" // beside staging: takes in, sends
	RoleGor    Role = "gor"    // called by the name gor: as RoleKagami, with GoReplay's file names and limits
)

// A Config is all that a mirroring process has to know, whether it came from
// flags, the environment or a file. It is resolved: what was not given has its
// default, and nothing in it has to be parsed again. yaml.go says how it is
// written in a file.
type Config struct {
	Role    Role
	Inputs  []InputConfig  // at least one
	Outputs []OutputConfig // at least one, at most kagami.MaxOutputs
	// Filters stand before all outputs.
	Filters filter.Config

	SplitOutput  bool          // each exchange goes to one output, not to all
	KeepOrder    bool          // requests of one client connection are sent one after the other, and split together
	SplitTurns   bool          // with SplitOutput: by turns, not by a hash of the id
	ExitAfter    time.Duration // end by itself after this long; 0 never
	DrainTimeout time.Duration // how long what is queued may take to be sent at the end
	DryRun       bool          // say what would be sent, and send nothing
	SafeMethods  bool          // send GET, HEAD and OPTIONS only

	SampleSeed uint64 // samples with different seeds are independent

	MemoryLimit int64 // of the process, in bytes; 0 none
	MaxMessage  int64 // larger messages are dropped, in bytes

	CPULimit float64 // of the process, in cores; 0 none

	State     StateConfig
	InDoubt   InDoubt // "" is by the input
	Trust     TrustConfig
	Insecure  bool // streams in clear to and from other hosts
	AllowSelf bool // an output may point at the captured address

	User string // whom to become when everything is open, a name or a number; "" nobody else

	Summary string // file for the ledger as JSON; "" none
	Admin   string // address of the admin server (metrics, health); "" none
	Pprof   bool   // the admin server has /debug/pprof too

	LogFormat  string        // "text" or "json"
	Verbose    int           // 0 what matters, 1 and up: more and more detail
	Stats      bool          // a line of statistics every StatsEvery, terminal or not
	StatsEvery time.Duration // 5 s

	Results ResultsConfig
	Compare CompareConfig

	// Reload changes filters, shares, limits and outputs while it runs; nil never does.
	Reload *Reload

	Console Console
}

// A Console is where a command talks to whoever started it.
type Console struct {
	Stdout   io.Writer    // data, nothing else
	Stderr   io.Writer    // for a progress line
	Terminal bool         // Stderr is a terminal
	Log      *slog.Logger // diagnostics
}

// An InputKind says where an input takes messages from.
type InputKind string

// The kinds of input.
const (
	InputRaw   InputKind = "raw"   // packets
	InputTCP   InputKind = "tcp"   // a listener's stream
	InputFile  InputKind = "file"  // recordings
	InputNATS  InputKind = "nats"  // a broker's stream
	InputDummy InputKind = "dummy" // a made-up request each second
)

// An InputConfig is one input.
type InputConfig struct {
	Kind    InputKind
	Address string // as given, without its suffix

	Share    *kagami.Share // nil: everything
	SampleBy string        // what the share goes by: "request", "connection", "client", "header:NAME", "cookie:NAME", "param:NAME"
	Limit    float64       // requests a second; 0 none
	Filters  filter.Config // for this input only, before those of Config

	Raw  RawConfig       // of InputRaw
	File FileInputConfig // of InputFile
	NATS NATSInputConfig // of InputNATS
}

// A RawConfig is how packets are captured.
type RawConfig struct {
	Engine string // "libpcap", "vxlan" or "pcap_file"
	// Host is an interface's name (it may end in *), an IP address or "any"; ""
	// is every interface that is up. For vxlan it is one of this host's addresses, or
	// any. For pcap_file it is the file's path.
	Host  string
	Ports []uint16 // server ports, sorted, each once; none: every port

	TrackResponse   bool          // capture production's answers too
	ResponseHeads   int64         // the same, but only so many bytes of each of their packets; 0: all
	Expire          time.Duration // an unfinished message without new bytes for so long is dropped
	AllowIncomplete bool          // hand on the unfinished message instead

	BPFFilter        string        // replaces the filter made from Host and Ports
	BufferSize       int64         // of the kernel, in bytes
	BufferTimeout    time.Duration // how long the kernel may hold packets back to hand over many at once
	Promiscuous      bool          // also packets that are for other hosts
	Monitor          bool          // monitor mode of a wireless interface
	VLAN             bool          // packets with a VLAN tag
	VLANIDs          []uint16      // only of these VLANs; none: all
	RealIPHeader     string        // put the client's address into this header
	TimestampType    string        // of libpcap, as "adapter"; "" is the interface's default
	IgnoreInterfaces []string      // leave these out where Host means several
	VXLANPort        int           // the UDP port that vxlan or geneve receives at
	VNIs             []int         // of vxlan, only these virtual networks, and not those of -N; none: all

	Pods        *kube.Selection // servers are these pods; nil: the address says where they are
	Node        string          // only pods on this node
	Credentials string          // the folder with what Kubernetes' API wants to see; "": where pods have it
}

// responses reports whether production's answers are asked for.
func (c RawConfig) responses() bool { return c.TrackResponse || c.ResponseHeads > 0 }

// bringsAnswers reports whether production's answers may come from the input.
func (c *InputConfig) bringsAnswers() bool {
	return c.Kind == InputFile || c.Kind == InputTCP || c.Kind == InputNATS || c.Kind == InputRaw && c.Raw.responses()
}

// bringsAnswers reports whether they may come from any input.
func (c *Config) bringsAnswers() bool {
	return slices.ContainsFunc(c.Inputs, func(in InputConfig) bool { return in.bringsAnswers() })
}

// A FileInputConfig is how recordings are read.
type FileInputConfig struct {
	Speed     float64       // 1 is as recorded, 2 twice as fast
	Max       bool          // as fast as it goes; Speed does not matter
	Loop      bool          // begin again at the end
	ReadDepth int           // how many records of a file are put in order
	MaxWait   time.Duration // the longest that a pause in the recording may take; 0 any
	DryRun    bool          // say what is in there and how long it takes, and send nothing

	Pace PaceConfig
}

// An OutputKind says where an output sends messages to.
type OutputKind string

// The kinds of output.
const (
	OutputHTTP   OutputKind = "http"   // requests, to a server
	OutputTCP    OutputKind = "tcp"    // everything, to a replayer
	OutputNATS   OutputKind = "nats"   // everything, to a broker's stream
	OutputFile   OutputKind = "file"   // everything, to a recording
	OutputStdout OutputKind = "stdout" // everything, as .gor records
	OutputNull   OutputKind = "null"   // nowhere
)

// An OnFull says what happens to messages when an output's queue is full.
type OnFull string

// What happens when a queue is full.
const (
	OnFullDrop OnFull = "drop" // they are dropped and counted
	OnFullWait OnFull = "wait" // the input waits
)

// An OutputConfig is one output and what stands before it.
type OutputConfig struct {
	Kind    OutputKind
	Address string // a URL, host:port (for tcp also several, with commas) or path, without its suffix; "" for stdout and null

	Share    *kagami.Share // nil: everything
	SampleBy string        // as in InputConfig
	Limit    float64       // requests a second; 0 none
	Filters  filter.Config // for this output only, behind those of Config

	QueueMessages int   // how many may wait
	QueueBytes    int64 // and how large they may be together
	OnFull        OnFull

	HTTP HTTPConfig       // of OutputHTTP
	TCP  TCPOutputConfig  // of OutputTCP
	NATS NATSOutputConfig // of OutputNATS
	File FileOutputConfig // of OutputFile
}

// An HTTPConfig is how requests are sent.
type HTTPConfig struct {
	Timeout        time.Duration // for a request and its answer
	Workers        int           // connections at most
	IdleTimeout    time.Duration // connections without work are closed after this long
	WebSockets     int           // open at once, at most
	WebSocketIdle  time.Duration // those without a frame to send are closed after this long
	Redirects      int           // how many redirects are followed
	TLS            TLSConfig     // of https://
	Version        string        // of HTTP: "auto", "1" or "2"
	TrackResponse  bool          // staging's answers go to the other outputs
	OriginalHost   bool          // keep the Host header of the captured request
	Ambiguous      string        // requests whose framing can be read in two ways: "drop" or "own-connection"
	NoReplayHeader bool          // do not add Kagami-Replay
	Compare        bool          // compare staging's answers with production's
	Baseline       string        // URL of an unchanged copy of production, which shows what is noise; "" none
}

// A TCPOutputConfig is how messages are streamed to a replayer.
type TCPOutputConfig struct {
	JoinFiles []string // of replayers; more than one are told apart by their address
	Join      string   // what a join file says, a secret; "" none

	Compress string // batches: "none" or "zstd"

	Spool     string        // directory in which what is not acknowledged is kept, below it one for each replayer; "" none
	SpoolSize int64         // bytes of a replayer's spool
	SpoolAge  time.Duration // messages that are older are dropped from it; 0 never
	SpoolSync time.Duration // how old messages get before they are on disk for sure; 0 at once

	FailoverAfter time.Duration // of several replayers, one that was away for so long loses its share to the others; 0 never
}

// A FileSync says when a recording is on the disk.
type FileSync string

// When a recording is on the disk.
const (
	FileSyncNever FileSync = "never" // when the kernel sees fit
	FileSyncClose FileSync = "close" // when a file is complete
	FileSyncFlush FileSync = "flush" // at each flush, before it counts as delivered
)

// A FileOutputConfig is how messages are recorded.
type FileOutputConfig struct {
	Append        bool          // add to a file that exists
	Compress      string        // batches of .kgm: "none" or "zstd"
	FlushInterval time.Duration // how old a record may get before it is in the file
	Sync          FileSync      // when what is in the file is on the disk
	SizeLimit     int64         // bytes a chunk; 0 no chunks by size
	QueueLimit    int           // records a chunk; 0 no chunks by number
	TimeLimit     time.Duration // how long a chunk lasts; 0 no chunks by time
	KeepFiles     int           // how many files of the recording are kept; 0 all
	KeepSize      int64         // how many bytes of it; 0 all
	MaxSize       int64         // bytes of all files together, at which the recording ends; 0 any
	MinFree       int64         // bytes that stay free on the disk
}

// A CatConfig is what kagami cat is to show.
type CatConfig struct {
	Files  []string
	Format string        // "text", "json", "gor" or "har"
	Kinds  []kagami.Kind // none: all
	Ports  []uint16      // server ports in packet files; none: every port

	Console Console
}

// A DemoConfig is how long and how hard kagami demo works.
type DemoConfig struct {
	Duration time.Duration
	Rate     int  // requests a second
	NATS     bool // a broker between listener and replayer

	Console Console
}
