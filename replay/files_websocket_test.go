package replay_test

import (
	"context"
	"testing"
	"time"

	"kagami"
	"kagami/internal/websocket"
	"kagami/replay"
)

// chat is two requests, one of them for a WebSocket, its frames, and two more requests.
func chat() (all []*kagami.Message) {
	ask := told(kagami.Request, 2, 100, "b")
	ask.Raw = []byte("GET /b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	accept := told(kagami.Response, 2, 110, "")
	accept.Raw = []byte("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	frame := func(kind kagami.Kind, ms int) *kagami.Message {
		m := told(kind, 2, ms, "")
		m.Proto = kagami.WebSocket
		h := websocket.Header{Fin: true, Opcode: websocket.Text, Masked: kind == kagami.Request, Length: 1}
		m.Raw = append(h.Append(nil), 'x')
		return m
	}
	return []*kagami.Message{told(kagami.Request, 1, 0, "a"), ask, accept, frame(kagami.Request, 150), frame(kagami.Response, 160),
		told(kagami.Request, 3, 200, "c"), frame(kagami.Request, 250), told(kagami.Request, 4, 300, "d"), frame(kagami.Request, 90_000)}
}

// Frames have their time as answers have: they are no requests to a rate or a number, but
// what lies outside of the window is not sent, nor what follows it.
func TestFilesReplayFrames(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  replay.FilesConfig
		want string
	}{
		{"all", replay.FilesConfig{}, "a@0 b@100 101@110 >@150 <@160 c@200 >@250 d@300 >@90000"},
		{"twice as fast", replay.FilesConfig{Speed: 2}, "a@0 b@50 101@55 >@75 <@80 c@100 >@125 d@150 >@45000"},
		{"a rate", replay.FilesConfig{Pacer: replay.Rate(10)}, "a@0 b@100 101@100 >@100 <@100 c@200 >@200 d@300 >@300"},
		{"two requests", replay.FilesConfig{Requests: 2}, "a@0 b@100 101@110 >@150 <@160 >@250"},
		{"to", replay.FilesConfig{To: after(200)}, "a@0 b@100 101@110 >@150 <@160"},
		{"from", replay.FilesConfig{From: after(120)}, "c@0 d@100"},
		{"a duration", replay.FilesConfig{Duration: 240 * time.Millisecond}, "a@0 b@100 101@110 >@150 <@160 c@200"},
	} {
		for form, b := range map[string][]byte{"gor": asGOR(chat()), "kgm": asKGM(t, chat())} {
			t.Run(tc.name+"/"+form, func(t *testing.T) {
				f := newFiles(t, tc.cfg, files(t, map[string][]byte{"a." + form: b}))
				summary, err := f.Summary(context.Background())
				if err != nil {
					t.Error(err)
				}
				var log []string
				frames := 0
				var asked *kagami.Exchange
				err = f.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
					for i, m := range b.Messages {
						switch {
						case m.Proto == kagami.WebSocket && m.Exchange != asked:
							t.Errorf("message %d is a frame of another exchange", i)
						case m.Proto == kagami.WebSocket:
							frames++
						case m.Exchange.ID == chat()[1].Exchange.ID:
							asked = m.Exchange
						}
					}
					log = append(log, names(b)...)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				want(t, log, tc.want)
				if summary.Frames != frames || summary.Messages() != len(log) {
					t.Errorf("the summary says %d frames and %d messages: want %d, %d", summary.Frames, summary.Messages(), frames, len(log))
				}
				st := f.Stages()[0].Statement()
				out := st.Out
				for _, n := range st.Dropped {
					out += n
				}
				if out != st.In || st.Out != int64(len(log)) {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}
