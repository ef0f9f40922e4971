package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kagami"
	"kagami/capture"
	"kagami/internal/gor"
	"kagami/internal/http1"
	"kagami/replay"
)

// runCat shows what is in recordings and packet captures, in the order of the
// files. Of a damaged file everything whole is shown, then what is wrong.
func runCat(ctx context.Context, cfg CatConfig) error {
	w := bufio.NewWriterSize(cfg.Console.Stdout, 64<<10)
	show, err := newMessageWriter(cfg.Format, w)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range cfg.Files {
		err := readMessages(ctx, name, cfg.Ports, func(m *kagami.Message) error {
			if len(cfg.Kinds) > 0 && (m.Proto == kagami.WebSocket || !slices.Contains(cfg.Kinds, m.Kind)) {
				return nil
			}
			return show.write(m)
		})
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(errs, show.close(), w.Flush())...)
}

// readMessages calls f with each message of a packet capture or a recording.
func readMessages(ctx context.Context, name string, ports []uint16, f func(*kagami.Message) error) error {
	file, err := capture.OpenFile(name)
	if errors.Is(err, capture.ErrNotCapture) {
		return readRecording(ctx, name, f)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	l, err := capture.New(capture.Config{Ports: ports, Responses: true, Wait: true}, file)
	if err != nil {
		return err
	}
	return l.Run(ctx, func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			if err := f(m); err != nil {
				return err
			}
		}
		b.DoneAll(kagami.Delivered)
		return nil
	})
}

func readRecording(ctx context.Context, name string, f func(*kagami.Message) error) error {
	r, err := replay.OpenFile(name)
	if err != nil {
		return err
	}
	defer r.Close()
	for ctx.Err() == nil {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(m); err != nil {
			return err
		}
	}
	return nil
}

// A messageWriter shows messages in one format.
type messageWriter interface {
	write(*kagami.Message) error
	close() error
}

func newMessageWriter(format string, w io.Writer) (messageWriter, error) {
	switch format {
	case "", "text":
		return lineWriter{w, textLine}, nil
	case "json":
		return lineWriter{w, jsonLine}, nil
	case "gor":
		return lineWriter{w, func(b []byte, m *kagami.Message) ([]byte, error) { return gor.Append(b, m), nil }}, nil
	case "har":
		return newHARWriter(w), nil
	}
	return nil, usagef("--format %s: want text, json, gor or har", format)
}

// A lineWriter shows each message by itself.
type lineWriter struct {
	w      io.Writer
	append func([]byte, *kagami.Message) ([]byte, error)
}

func (l lineWriter) write(m *kagami.Message) error {
	b, err := l.append(nil, m)
	if err == nil {
		_, err = l.w.Write(b)
	}
	return err
}

func (l lineWriter) close() error { return nil }

// textLine appends a line for people.
func textLine(b []byte, m *kagami.Message) ([]byte, error) {
	head, err := http1.ParseHead(m.Raw, m.Kind != kagami.Request)
	first := fmt.Sprintf("%s %s", head.Method, head.Target)
	switch {
	case err != nil:
		first = fmt.Sprintf("%.40q", m.Raw)
	case head.Response:
		first = fmt.Sprintf("%d %s", head.Status, head.Reason)
	}
	from, to := m.Client, m.Server
	if m.Kind != kagami.Request {
		from, to = to, from
	}
	return fmt.Appendf(b, "%s %-8s %s %s > %s %s (%d bytes)\n", m.Start.UTC().Format("2006-01-02T15:04:05.000000Z"),
		m.Kind, m.Exchange.ID, addrText(from), addrText(to), strings.TrimSpace(first), len(m.Raw)), nil
}

// addrText is an address and port, or "?" where a recording does not have it.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "?"
	}
	return a.String()
}

// A catRecord is the JSON form of a message. Text fields hold bytes as they
// were sent, each as the code point of the same number (ISO 8859-1).
type catRecord struct {
	ID       kagami.ID `json:"id"`
	Kind     string    `json:"kind"`
	Proto    string    `json:"proto"`
	Time     time.Time `json:"time"`
	Duration float64   `json:"duration_ms"` // from the first to the last byte
	Src      string    `json:"src"`
	Dst      string    `json:"dst"`
	Method   string    `json:"method,omitempty"`
	URI      string    `json:"uri,omitempty"`
	Status   int       `json:"status,omitempty"`
	Version  string    `json:"version"`
	Host     string    `json:"host,omitempty"`
	BodyLen  int       `json:"body_len"` // of the entity, chunk framing removed, not decompressed
	Size     int       `json:"size"`     // head and body as sent
	Flags    []string  `json:"flags,omitempty"`
}

// jsonLine appends a line of JSON.
func jsonLine(b []byte, m *kagami.Message) ([]byte, error) {
	r := catRecord{
		ID: m.Exchange.ID, Kind: m.Kind.String(), Proto: m.Proto.String(), Time: m.Start.UTC(),
		Duration: float64(m.End.Sub(m.Start).Microseconds()) / 1e3,
		Src:      addrText(m.Client), Dst: addrText(m.Server), Size: len(m.Raw), Flags: flagNames(m.Flags),
	}
	if m.Kind != kagami.Request {
		r.Src, r.Dst = r.Dst, r.Src
	}
	if head, err := http1.ParseHead(m.Raw, m.Kind != kagami.Request); err == nil {
		r.Version = fmt.Sprintf("%d.%d", head.Major, head.Minor)
		r.Method, r.URI, r.Status = latin1(head.Method), latin1(head.Target), head.Status
		host, _ := http1.Header(m.Raw, "Host")
		r.Host = latin1(host)
		if body, err := http1.Body(m.Raw); err == nil {
			r.BodyLen = len(body)
		}
	}
	line, err := plainJSON(r)
	return append(b, line...), err
}

// plainJSON is v as a line of JSON, with < > & as they are.
func plainJSON(v any) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return line.Bytes(), err
}

// latin1 makes a string in which each byte of b is a code point.
func latin1(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

func flagNames(f kagami.Flags) []string {
	var names []string
	for _, n := range []struct {
		flag kagami.Flags
		name string
	}{{kagami.MidStream, "mid-stream"}, {kagami.Ambiguous, "ambiguous"}, {kagami.Truncated, "truncated"}, {kagami.Incomplete, "incomplete"}, {kagami.Doubtful, "in-doubt"}} {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}
