package capture

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kagami"
)

// A receiver whose window is closed is probed with a byte that it may not have taken, again
// and again, until the rest follows (RFC 9293 §3.8.6.1).
func TestZeroWindow(t *testing.T) {
	p := post("/1", text(3000))
	for _, at := range []int{20, 1000, len(p) - 1, len(p)} {
		w := newTrace(t).dial(aClient, aServer)
		all := p + get("/2")
		w.send(all[:at])
		for range 4 {
			w.answer("") // the window is 0
			w.resend(0, all[at:at+1])
			w.resend(-1, "")                  // a keep-alive probe
			w.resend(-1, all[at-1:at])        // and one with the last byte
			w.tr.wait(450 * time.Millisecond) // an unfinished message is kept for 2 s
		}
		w.send(all[at:])
		tr := w.tr.run(port80)
		tr.wants(p, get("/2"))
		tr.dropped("")
	}
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1"))
	for range 4 { // so long that what is unfinished is given up: here that is no message yet
		w.resend(0, "G")
		w.tr.wait(time.Minute)
	}
	w.send(get("/2"))
	w.tr.run(port80).wants(get("/1"), get("/2"))
}

// Both ends speak at the same time: the server answers while the next requests come, and
// each side's segments acknowledge what is half of something.
func TestSimultaneousDirections(t *testing.T) {
	var requests, answers []string
	for i := range 40 {
		requests = append(requests, post(fmt.Sprint("/", i+1), text(i*97)))
		answers = append(answers, ok(fmt.Sprint(i+1)))
	}
	toServer, toClient := cut(strings.Join(requests, ""), 333), cut(strings.Join(answers, ""), 11)
	for _, lead := range []int{1, 3, 1000} { // how many segments the client is ahead
		w := newTrace(t).dial(aClient, aServer)
		for i := 0; i < max(len(toServer)+lead, len(toClient)+lead); i++ {
			if i < len(toServer) {
				w.send(toServer[i])
			}
			if n := i - lead; n >= 0 && n < len(toClient) {
				w.answer(toClient[n])
			}
		}
		tr := w.tr.run(withAnswers)
		tr.wants(requests...)
		tr.answers(answers...)
		tr.answersTheirs()
		tr.dropped("")
	}
}

// Ports are used again within seconds, with and without the end of the connection before
// seen, and with numbers above and below.
func TestPortReuseWithinSeconds(t *testing.T) {
	for _, end := range []func(w *wire){
		func(w *wire) { w.close(); w.hangUp() },
		func(w *wire) { w.reset() },
		func(w *wire) { w.refuse() },
		func(w *wire) { w.hangUp() },
		func(w *wire) {},
	} {
		for _, jump := range []uint32{1 << 20, 1 << 30, 1<<32 - 1<<20, 1 << 31} {
			w := newTrace(t).conn(aClient, aServer)
			var requests, answers []string
			for i := range 5 {
				w.open()
				requests = append(requests, get(fmt.Sprint("/", i+1)))
				answers = append(answers, ok(fmt.Sprint(i+1)))
				w.send(requests[i]).answer(answers[i])
				end(w)
				w.cseq += jump
				w.sseq += jump / 3
				w.tr.wait(time.Second)
			}
			tr := w.tr.run(withAnswers)
			tr.wants(requests...)
			tr.answers(answers...)
			tr.answersTheirs()
			tr.dropped("")
		}
	}
}

// What no window reaches is another connection's whose SYN was not seen: it does not get among the pieces
// that wait, which are told apart by their distance, and what was there goes on.
func TestFurtherAheadThanAnyWindow(t *testing.T) {
	for _, ahead := range []uint32{maxWindow + 1<<20, 1<<31 - 60, 1<<31 - 40, 1 << 31, 1<<32 - oldWindow - 1<<20} {
		w := newTrace(t).dial(aClient, aServer)
		one, two := get("/1"), get("/2")
		w.send(one)
		w.cseq += uint32(len(two)) / 2
		w.send(two[len(two)/2:])
		w.cseq += ahead
		w.send("no request begins here")
		w.cseq -= ahead + uint32(len("no request begins here")+len(two))
		w.send(two[:len(two)/2])
		tr := w.tr.run(port80)
		tr.wants(one, two)
		tr.dropped("")
	}
}

// What RFC 9112 lets a server read in more than one way is captured as RFC 9112 says, and
// flagged; what is behind it is found.
func TestWaysToSmuggle(t *testing.T) {
	const chunked = "4\r\nbody\r\n0\r\n\r\n"
	for _, c := range []struct {
		name, raw string
	}{
		{"both lengths", "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked},
		{"the same length twice", "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody"},
		{"a length in a list", "POST / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\nbody"},
		{"obs-fold", "POST / HTTP/1.1\r\nX: a\r\n b\r\nContent-Length: 4\r\n\r\nbody"},
		{"a length behind a fold", "POST / HTTP/1.1\r\nContent-Length:\r\n 4\r\n\r\nbody"},
		{"bare line feeds", "POST / HTTP/1.1\nContent-Length: 4\n\nbody"},
		{"blanks before a colon", "POST / HTTP/1.1\r\nContent-Length : 4\r\n\r\nbody"},
		{"two spaces in the request line", "GET  / HTTP/1.1\r\n\r\n"},
	} {
		for _, size := range []int{1, 7, 1 << 16} {
			w := newTrace(t).dial(aClient, aServer)
			w.send(cut("\r\n"+c.raw+get("/2"), size)...)
			tr := w.tr.run(port80)
			tr.wants(c.raw, get("/2"))
			tr.dropped("")
			if t.Failed() {
				t.Fatal(c.name, size)
			}
			if f := tr.requests[0].Flags; f != kagami.Ambiguous || tr.requests[1].Flags != 0 {
				t.Errorf("%s: flags %b and %b", c.name, f, tr.requests[1].Flags)
			}
		}
	}
}

// The largest message that is kept by default has 16 MiB. One that is larger is counted, and
// the connection goes on.
func TestLargestMessage(t *testing.T) {
	const most = 16 << 20
	body := strings.Repeat("0123456789abcdef", most/16)
	head := len(post("/1", body)) - most
	w := newTrace(t).dial(aClient, aServer)
	w.send(cut(post("/1", body[head:]), 60_000)...)
	w.send(cut(post("/2", body[head-1:]), 60_000)...)
	w.send(get("/3"))
	tr := w.tr.run(Config{Ports: []uint16{80}, Memory: 64 << 20})
	tr.wants(post("/1", body[head:]), get("/3"))
	tr.dropped("too-large 1")
}
