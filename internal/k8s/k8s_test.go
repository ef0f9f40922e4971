package k8s_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami/internal/k8s"
)

func TestParseSelector(t *testing.T) {
	for _, test := range []struct {
		in   string
		want k8s.Selector
		err  string
	}{
		{in: "pod/web-0", want: k8s.Selector{Kind: "pod", Value: "web-0"}},
		{in: "shop/pod/web-0", want: k8s.Selector{Namespace: "shop", Kind: "pod", Value: "web-0"}},
		{in: "shop/deployment/web", want: k8s.Selector{Namespace: "shop", Kind: "deployment", Value: "web"}},
		{in: "daemonset/edge", want: k8s.Selector{Kind: "daemonset", Value: "edge"}},
		{in: "shop/labelSelector/app=web,tier!=back", want: k8s.Selector{Namespace: "shop", Kind: "labelSelector", Value: "app=web,tier!=back"}},
		{in: "label/app.kubernetes.io/name=web", want: k8s.Selector{Kind: "labelSelector", Value: "app.kubernetes.io/name=web"}},
		{in: "shop/label/app.kubernetes.io/name=web", want: k8s.Selector{Namespace: "shop", Kind: "labelSelector", Value: "app.kubernetes.io/name=web"}},
		{in: "shop/fieldSelector/metadata.name=web-0", want: k8s.Selector{Namespace: "shop", Kind: "fieldSelector", Value: "metadata.name=web-0"}},
		{in: "web", err: `"web": want k8s://`},
		{in: "shop/web", err: `"shop" is no kind of selector`},
		{in: "shop/service/web", err: `"shop" is no kind of selector`},
		{in: "pod/", err: "pod of what name?"},
		{in: "Shop/pod/web", err: `namespace "Shop"`},
		{in: "pod/web/../x", err: `pod "web/../x": want`},
		{in: "field/name", err: "want FIELD=VALUE"},
	} {
		got, err := k8s.ParseSelector(test.in)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %s", test.in, err, test.err)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.in, got, err, test.want)
		}
		if again, err := k8s.ParseSelector(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, and read as %+v, %v", test.in, got, again, err)
		}
	}
}

// A fakeAPI stands in for an API server: it answers lists from pages and watches with
// what the test sends, and checks what it is asked.
type fakeAPI struct {
	t      *testing.T
	pages  [][]string
	events chan string // each a line; "end" ends the answer
	asked  chan url.Values
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer secret" {
		http.Error(w, `{"message":"who are you?"}`, http.StatusForbidden)
		return
	}
	if r.URL.Path != "/api/v1/namespaces/shop/pods" {
		f.t.Errorf("asked for %s", r.URL.Path)
	}
	q := r.URL.Query()
	if q.Get("watch") == "" {
		page := 0
		fmt.Sscan(q.Get("continue"), &page)
		next := ""
		if page+1 < len(f.pages) {
			next = fmt.Sprint(page + 1)
		}
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"10","continue":%q},"items":[%s]}`, next, strings.Join(f.pages[page], ","))
		return
	}
	f.asked <- q
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-f.events:
			if e == "end" {
				return
			}
			fmt.Fprintln(w, e)
			w.(http.Flusher).Flush()
		}
	}
}

func pod(name, ip, version, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"shop","resourceVersion":%q%s},"status":{"phase":"Running","podIPs":[{"ip":%q}]},"spec":{"unknown":[1,{}]}}`,
		name, version, more, ip)
}

func owned(kind, owner, hash string) string {
	return fmt.Sprintf(`,"labels":{"pod-template-hash":%q},"ownerReferences":[{"kind":%q,"name":%q}]`, hash, kind, owner)
}

func newFake(t *testing.T, pages ...[]string) (*fakeAPI, k8s.Config) {
	f := &fakeAPI{t: t, pages: pages, events: make(chan string), asked: make(chan url.Values, 10)}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f, k8s.Config{URL: server.URL, TokenFile: token}
}

func wantNames(t *testing.T, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, " "); text != want {
		t.Errorf("pods %q, want %q", text, want)
	}
}

func TestPodsAreListedAndFollowed(t *testing.T) {
	f, cfg := newFake(t,
		[]string{pod("a", "10.0.0.1", "1", "")},
		[]string{pod("b", "fd00::1", "2", ""), pod("waiting", "", "3", "")})
	changes := make(chan []string)
	pods, err := k8s.List(t.Context(), cfg, k8s.Selector{Namespace: "shop", Kind: "labelSelector", Value: "app=web"}, "node1",
		func(names []string) { changes <- names })
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, pods.Names(), "shop/a shop/b")
	for ip, want := range map[string]bool{"10.0.0.1": true, "::ffff:10.0.0.1": true, "fd00::1": true, "10.0.0.2": false} {
		if got := pods.Has(netip.MustParseAddr(ip)); got != want {
			t.Errorf("has %s: %v", ip, got)
		}
	}
	reports := make(chan error, 10)
	ended := make(chan struct{})
	ctx := t.Context()
	go func() { defer close(ended); pods.Run(ctx, func(err error) { reports <- err }) }()
	q := <-f.asked
	if q.Get("resourceVersion") != "10" || q.Get("labelSelector") != "app=web" || q.Get("fieldSelector") != "spec.nodeName=node1" {
		t.Errorf("watches with %v", q)
	}
	send := func(kind, object, want string) {
		t.Helper()
		f.events <- fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object)
		wantNames(t, <-changes, want)
	}
	send("ADDED", pod("c", "10.0.0.3", "11", ""), "shop/a shop/b shop/c")
	send("DELETED", pod("a", "10.0.0.1", "12", ""), "shop/b shop/c")
	if pods.Has(netip.MustParseAddr("10.0.0.1")) {
		t.Error("the address of a pod that is gone is still captured")
	}
	send("MODIFIED", strings.Replace(pod("c", "10.0.0.3", "13", ""), "Running", "Succeeded", 1), "shop/b")
	f.events <- `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"20"}}}`
	f.events <- "end"
	if err := <-reports; err == nil {
		t.Error("an answer that ends at once is no error")
	}
	if q := <-f.asked; q.Get("resourceVersion") != "20" {
		t.Errorf("goes on from %s, want 20", q.Get("resourceVersion"))
	}
	// What was seen last is too old: all is listed anew.
	f.pages = [][]string{{pod("d", "10.0.0.4", "30", "")}}
	f.events <- `{"type":"ERROR","object":{"code":410,"message":"too old"}}`
	wantNames(t, <-changes, "shop/d")
}

func TestOwners(t *testing.T) {
	all := []string{
		pod("web", "10.0.0.1", "1", owned("ReplicaSet", "web-5d9", "5d9")),
		pod("webby", "10.0.0.2", "1", owned("ReplicaSet", "web-x-5d9", "5d9")),
		pod("edge", "10.0.0.3", "1", owned("DaemonSet", "web", "")),
		pod("alone", "10.0.0.4", "1", ""),
	}
	for kind, want := range map[string]string{"deployment": "shop/web", "daemonset": "shop/edge", "pod": "shop/alone shop/edge shop/web shop/webby"} {
		_, cfg := newFake(t, all)
		pods, err := k8s.List(t.Context(), cfg, k8s.Selector{Namespace: "shop", Kind: kind, Value: "web"}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, pods.Names(), want)
	}
}

func TestMissingRightIsSaid(t *testing.T) {
	_, cfg := newFake(t)
	cfg.TokenFile = ""
	_, err := k8s.List(t.Context(), cfg, k8s.Selector{Namespace: "shop", Kind: "pod", Value: "web"}, "", nil)
	if err == nil || !strings.Contains(err.Error(), "403 Forbidden: the service account needs the verbs list and watch on pods") {
		t.Errorf("error %v", err)
	}
}

// Whatever an API server sends, a watch ends or goes on.
func FuzzWatch(f *testing.F) {
	f.Add(`{"type":"ADDED","object":` + pod("a", "10.0.0.1", "1", owned("ReplicaSet", "a-1", "1")) + `}`)
	f.Add(`{"type":"ERROR","object":{"code":410}}`)
	f.Add(`{"type":"DELETED","object":{}}` + "\n" + `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		names, err := k8s.Replay(k8s.Selector{Kind: "pod", Value: "a"}, strings.NewReader(text))
		if err == nil && len(names) > strings.Count(text, "\n")+1 {
			t.Errorf("%d pods of %q", len(names), text)
		}
		if _, err := json.Marshal(names); err != nil {
			t.Error(err)
		}
	})
}
