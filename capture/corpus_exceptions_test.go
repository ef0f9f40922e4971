package capture_test

// A corpusException says where the corpus's rows of one capture are wrong, and why.
type corpusException struct {
	requests, answers corpusErrors
	why               string
}

// corpusErrors are rows that no message stands behind, and messages that the corpus has
// no row for: named, or of many only how many.
type corpusErrors struct {
	notThere []string
	lacking  []string
	lacks    int
}

// After a gap in what the server sent tshark finds no answer that comes later in the same
// direction. The whole answers behind the gap are in the capture.
const behindGap = "tshark finds no answer behind a gap in the server's direction"

// corpusExceptions is complete: whatever else differs is a failure.
var corpusExceptions = map[string]corpusException{
	"captures/zeek+zeek/http.261.variant-10-multi_value_te": {
		requests: corpusErrors{notThere: []string{"192.168.1.100:40010>192.168.1.200:80 GET /smuggled-multi-te 0"}},
		why: "Transfer-Encoding is \"chunked, identity\": the final coding is not chunked, the length of the body cannot be " +
			"determined, and a server must answer 400 and close (RFC 9112 §6.3, rule 4). tshark takes what follows for a request",
	},
	"captures/ntop+nDPI/heuristic_tcp_ack_payload": {
		requests: corpusErrors{lacking: []string{"194.226.199.226:34101>8.247.226.126:80 GET /filestreamingservice/files/b4f27514-161 0"}},
		answers:  corpusErrors{lacking: []string{"8.247.226.126:80>194.226.199.226:34101 206  2"}},
		why: "the request is whole in one segment of 496 bytes, acknowledged to its last byte and answered with 206. ACKs " +
			"before it carry two bytes of padding at its sequence number, which tshark takes for its beginning",
	},
	"captures/ntop+nDPI/fuzz-2006-09-29-28586": {
		answers: corpusErrors{notThere: []string{"172.20.3.13:80>172.20.3.5:2602 200  358"}},
		why: "a fuzzed capture: the answer's sequence number is 1 526 726 656 above what the request acknowledges, far outside " +
			"any window (RFC 9293 §3.10.7.4), and there is no SYN of the server's",
	},
	"captures/zeek+zeek/http.content-length-overflow": {
		answers: corpusErrors{notThere: []string{"10.0.0.2:80>10.0.0.1:54321 200  100"}},
		why:     "Content-Length is 2 200 000 000, 100 bytes follow, then FIN: an incomplete message (RFC 9112 §8)",
	},
	"captures/OISF+suricata-verify/bug-7851-01.connect": {
		answers: corpusErrors{lacks: 1},
		why:     "the answer to a CONNECT that tshark does not know for one (the request's row is doubtful)",
	},
	"captures/simsong+tcpflow/test5-lines-randomized2": {
		answers: corpusErrors{lacks: 1},
		why:     "its three packets stand in reverse order, the end of the answer first; tshark finds none",
	},
	"captures/ntop+nDPI/KakaoTalk_talk": {
		answers: corpusErrors{lacks: 1},
		why:     "two SYN+ACKs differ in their sequence numbers; the client and the answer go by the second, tshark by the first",
	},
	"captures/OISF+suricata-verify/http-gap-beyond-body.input":             {answers: corpusErrors{lacks: 1}, why: behindGap},
	"captures/OISF+suricata-verify/http-gap-double.input":                  {answers: corpusErrors{lacks: 1}, why: behindGap},
	"captures/OISF+suricata-verify/http-gap-simple.input":                  {answers: corpusErrors{lacks: 1}, why: behindGap},
	"captures/OISF+suricata-verify/http-pipeline-files-with-gap.input":     {answers: corpusErrors{lacks: 1}, why: behindGap},
	"captures/andrewf+pcap2har/out-of-order":                               {answers: corpusErrors{lacks: 47}, why: behindGap + ": all of one connection"},
	"captures/seladb+PcapPlusPlus/ExamplesTest.pcap_examples.http-packets": {answers: corpusErrors{lacks: 48}, why: behindGap},
	"captures/zeek+zeek/erspan":                                            {answers: corpusErrors{lacks: 6}, why: behindGap},
	"captures/zeek+zeek/http.1000-requests-one-dropped-response":           {answers: corpusErrors{lacks: 999}, why: behindGap + ": 1000 requests, one answer left out"},
}
