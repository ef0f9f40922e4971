package kube

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParseSelection(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Selection
		err  string
	}{
		{in: "shop/pod/web-1", want: Selection{"shop", "pod", "web-1"}},
		{in: "pod/web-1", want: Selection{"", "pod", "web-1"}},
		{in: "shop/deployment/web", want: Selection{"shop", "deployment", "web"}},
		{in: "daemonset/web", want: Selection{"", "daemonset", "web"}},
		{in: "shop/labelSelector/app.kubernetes.io/name in (a, b),tier!=x", want: Selection{"shop", "labelSelector", "app.kubernetes.io/name in (a, b),tier!=x"}},
		{in: "fieldSelector/status.phase=Running", want: Selection{"", "fieldSelector", "status.phase=Running"}},
		{in: "pod/deployment/web", err: `pod "deployment/web"`},
		{in: "web", err: "want [NAMESPACE/]pod/NAME"},
		{in: "", err: "want [NAMESPACE/]pod/NAME"},
		{in: "shop/pod/", err: "want [NAMESPACE/]pod/NAME"},
		{in: "shop/service/web", err: "want [NAMESPACE/]pod/NAME"},
		{in: "/pod/web", err: "the namespace is empty"},
		{in: "Shop/pod/web", err: `namespace "Shop"`},
		{in: "shop/pod/../../secrets", err: `pod "../../secrets"`},
	} {
		got, err := ParseSelection(c.in)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %q", c.in, err, c.err)
			}
		case err != nil || got != c.want:
			t.Errorf("%q: %+v, %v", c.in, got, err)
		case got.String() != c.in:
			t.Errorf("%q is written %q", c.in, got)
		}
	}
}

// A fakeAPI stands in for Kubernetes' API, for there is no cluster here: it lists the pods it is
// given, and its watches say the lines that they are given.
type fakeAPI struct {
	*httptest.Server
	cfg Config

	mu      sync.Mutex
	lists   []string    // what lists answer, in turn; the last again and again
	asked   []string    // the paths and queries
	watches chan string // what a watch says and then ends; "hang up" cuts it off
	refuse  int         // if not 0: the code of the next answer
}

func newFakeAPI(t *testing.T) *fakeAPI {
	f := &fakeAPI{watches: make(chan string)}
	ctx := t.Context()
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.mu.Lock()
		f.asked = append(f.asked, r.URL.Path+"?"+r.URL.Query().Encode())
		code := f.refuse
		f.refuse = 0
		answer := ""
		if code == 0 && r.URL.Query().Get("watch") == "" && len(f.lists) > 0 {
			if answer = f.lists[0]; len(f.lists) > 1 {
				f.lists = f.lists[1:]
			}
		}
		f.mu.Unlock()
		if code != 0 {
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","message":"no, it says","code":%d}`, code)
			return
		}
		if r.URL.Query().Get("watch") != "" {
			w.(http.Flusher).Flush() // as the API does: it has begun
			select {
			case answer = <-f.watches:
			case <-r.Context().Done():
			case <-ctx.Done():
			}
			if answer == "hang up" {
				panic(http.ErrAbortHandler)
			}
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(f.Close)
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	for name, b := range map[string][]byte{"token": []byte("sesame\n"), "ca.crt": cert} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.cfg = Config{Server: f.URL, Credentials: dir, Retry: time.Millisecond}
	return f
}

func (f *fakeAPI) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func podJSON(uid, version, phase, more string, ips ...string) string {
	type ip struct {
		IP string `json:"ip"`
	}
	all := []ip{}
	for _, s := range ips {
		all = append(all, ip{s})
	}
	b, _ := json.Marshal(all)
	return fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q%s},"status":{"phase":%q,"podIPs":%s}}`, uid, version, more, phase, b)
}

func listJSON(version, next string, pods ...string) string {
	return fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"continue":%q},"items":[%s]}`, version, next, strings.Join(pods, ","))
}

func line(kind, object string) string {
	return fmt.Sprintf("{\"type\":%q,\"object\":%s}\n", kind, object)
}

func addrs(all ...string) (list []netip.Addr) {
	for _, a := range all {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

func TestFind(t *testing.T) {
	f := newFakeAPI(t)
	f.lists = []string{
		listJSON("7", "more", podJSON("a", "1", "Running", "", "10.0.0.9", "fd00::9"), podJSON("b", "2", "Succeeded", "", "10.0.0.8")),
		listJSON("7", "", podJSON("c", "3", "Pending", ""), podJSON("d", "4", "Running", "", "10.0.0.2"), podJSON("e", "4", "Running", "", "no address")),
	}
	f.cfg.Node, f.cfg.Selection = "n1", Selection{"shop", "labelSelector", "app=web"}
	p, err := Find(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Addresses(), addrs("10.0.0.2", "10.0.0.9", "fd00::9"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	want := []string{
		"/api/v1/namespaces/shop/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=app%3Dweb&limit=200",
		"/api/v1/namespaces/shop/pods?continue=more&fieldSelector=spec.nodeName%3Dn1&labelSelector=app%3Dweb&limit=200",
	}
	if got := f.questions(); !slices.Equal(got, want) {
		t.Errorf("asked %q", got)
	}
}

// What the API cannot select by is looked at here.
func TestWorkloads(t *testing.T) {
	owner := func(kind, name string) string {
		return fmt.Sprintf(`,"labels":{"pod-template-hash":"5d4"},"ownerReferences":[{"kind":%q,"name":%q}]`, kind, name)
	}
	for _, c := range []struct {
		selection Selection
		want      []netip.Addr
	}{
		{Selection{"", "deployment", "web"}, addrs("10.0.0.1")},
		{Selection{"", "daemonset", "web"}, addrs("10.0.0.3")},
		{Selection{"", "daemonset", "web-5d4"}, nil},
	} {
		f := newFakeAPI(t)
		f.lists = []string{listJSON("1", "",
			podJSON("a", "1", "Running", owner("ReplicaSet", "web-5d4"), "10.0.0.1"),
			podJSON("b", "1", "Running", owner("ReplicaSet", "web-x-5d4"), "10.0.0.2"),
			podJSON("c", "1", "Running", owner("DaemonSet", "web"), "10.0.0.3"),
			podJSON("d", "1", "Running", "", "10.0.0.4"))}
		f.cfg.Selection = c.selection
		p, err := Find(t.Context(), f.cfg)
		if err != nil || !slices.Equal(p.Addresses(), c.want) {
			t.Errorf("%v: %v, %v", c.selection, p.Addresses(), err)
		}
		if q := f.questions()[0]; q != "/api/v1/pods?limit=200" {
			t.Errorf("asked %q", q)
		}
	}
}

func TestFindErrors(t *testing.T) {
	f := newFakeAPI(t)
	f.lists = []string{"nonsense"}
	for _, c := range []struct {
		name   string
		change func(*Config)
		code   int
		err    string
	}{
		{"no address", func(c *Config) { c.Server = "" }, 0, "want https://HOST:PORT"},
		{"in clear", func(c *Config) { c.Server = "http://10.0.0.1" }, 0, "want https://HOST:PORT"},
		{"no credentials", func(c *Config) { c.Credentials = t.TempDir() }, 0, "certificate authority"},
		{"forbidden", nil, 403, "allow the service account to list and watch pods"},
		{"a bad selector", nil, 400, "is the selector well written?"},
		{"unknown", nil, 401, "does not know the service account"},
		{"trouble", nil, 500, "no, it says (500)"},
		{"nonsense", nil, 0, "the list of pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := f.cfg
			if c.change != nil {
				c.change(&cfg)
			}
			f.mu.Lock()
			f.refuse = c.code
			f.mu.Unlock()
			if _, err := Find(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	f := newFakeAPI(t)
	f.lists = []string{
		listJSON("1", "", podJSON("a", "1", "Running", "", "10.0.0.1")),
		listJSON("50", "", podJSON("z", "1", "Running", "", "10.0.0.7")),
	}
	failed := make(chan error, 10)
	f.cfg.Failed = func(err error) { failed <- err }
	p, err := Find(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	news := make(chan []netip.Addr)
	done := make(chan bool)
	go func() {
		defer close(done)
		p.Follow(ctx, func(a []netip.Addr) { news <- a })
	}()
	next := func(want ...string) {
		t.Helper()
		if got := <-news; !slices.Equal(got, addrs(want...)) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	next("10.0.0.1")
	f.watches <- line("ADDED", podJSON("b", "2", "Pending", "")) + line("MODIFIED", podJSON("b", "3", "Running", "", "10.0.0.2")) +
		line("BOOKMARK", podJSON("", "9", "", ""))
	next("10.0.0.1", "10.0.0.2")
	f.watches <- line("MODIFIED", podJSON("a", "10", "Succeeded", "", "10.0.0.1"))
	next("10.0.0.2")
	f.watches <- line("DELETED", podJSON("b", "11", "Running", "", "10.0.0.2"))
	next()
	f.watches <- "hang up"
	if err := <-failed; err == nil {
		t.Error("no error of a watch that was cut off")
	}
	f.watches <- line("ADDED", podJSON("c", "12", "Running", "", "10.0.0.3")) + "nonsense"
	next("10.0.0.3")
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "the watch of pods") {
		t.Errorf("error %v", err)
	}
	f.watches <- line("ERROR", `{"kind":"Status","code":410,"message":"too old resource version"}`)
	next("10.0.0.7")
	f.watches <- line("ADDED", podJSON("b", "51", "Running", "", "10.0.0.2"))
	next("10.0.0.2", "10.0.0.7")
	cancel()
	<-done
	var versions []string
	for _, q := range f.questions() {
		if _, v, ok := strings.Cut(q, "resourceVersion="); ok {
			v, _, _ = strings.Cut(v, "&")
			if len(versions) == 0 || versions[len(versions)-1] != v {
				versions = append(versions, v)
			}
		}
	}
	if want := []string{"1", "9", "10", "11", "12", "50", "51"}; !slices.Equal(versions, want) && !slices.Equal(versions, want[:6]) {
		t.Errorf("watched from %q", versions)
	}
}

// An object without an end is not read into memory.
func TestEndlessObject(t *testing.T) {
	f := newFakeAPI(t)
	f.lists = []string{listJSON("1", "")}
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	f.cfg.Failed = func(err error) {
		if ctx.Err() == nil {
			failed <- err
			cancel()
		}
	}
	p, err := Find(ctx, f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		p.Follow(ctx, func([]netip.Addr) {})
	}()
	f.watches <- `{"type":"ADDED","object":{"a":"` + strings.Repeat("x", 2*maxLine)
	if err := <-failed; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-done
}

func FuzzSelection(f *testing.F) {
	f.Add("shop/pod/web")
	f.Add("labelSelector/a=b")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelection(text)
		if err == nil && (s.String() != text || strings.Contains(s.Namespace, "/") || strings.Count(s.path(), "/") > 5) {
			t.Errorf("%q is read as %q", text, s)
		}
	})
}
