package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// shop answers /items/N with a document of which "served" is another each time. A changed
// one differs in one answer of ten, half by a type and half by a status, and hangs up on
// one of twenty.
func shop(changed bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/items/"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		price := strconv.Itoa(10 * n)
		if changed {
			switch n % 20 {
			case 5:
				price = `"` + price + `"`
			case 6:
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return
			case 7:
				panic(http.ErrAbortHandler)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%d,"price":%s,"served":"%x"}`, n, price, rand.Uint64())
	}
}

// recordShop records 200 requests to a server, and its answers if asked to.
func recordShop(t *testscript.Env, url string, answers bool) string {
	var b strings.Builder
	for i := range 200 {
		at := 1900000000_000000000 + int64(i)*1_000_000
		fmt.Fprintf(&b, "1 %024x %d 0\nGET /items/%d HTTP/1.1\r\nHost: a\r\n\r\n\n🐵🙈🙉\n", i+1, at, i)
		if !answers {
			continue
		}
		resp, err := http.Get(url + "/items/" + strconv.Itoa(i))
		if err != nil {
			t.T().Fatal(err)
		}
		raw, err := httputil.DumpResponse(resp, true)
		resp.Body.Close()
		if err != nil {
			t.T().Fatal(err)
		}
		fmt.Fprintf(&b, "2 %024x %d 2000000\n%s\n🐵🙈🙉\n", i+1, at, raw)
	}
	return b.String()
}

// freePort is a port of the loopback address that nobody listens at.
func freePort(t *testscript.Env) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.T().Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await waits until somebody listens at an address.
func await(_ *testscript.TestScript, _ bool, args []string) {
	for {
		if c, err := net.Dial("tcp", args[0]); err == nil {
			c.Close()
			return
		}
		runtime.Gosched()
	}
}

// The scripts in testdata/compare have an unchanged copy of production and a staging that
// differs from it.
func TestCompareScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/compare",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"await": await},
		Setup: func(e *testscript.Env) error {
			again := httptest.NewServer(shop(false))
			e.Defer(again.Close)
			e.Setenv("COPY2", again.URL)
			same, changed := httptest.NewServer(shop(false)), httptest.NewServer(shop(true))
			e.Defer(same.Close)
			e.Defer(changed.Close)
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv("COPY", same.URL)
			e.Setenv("STAGING", changed.URL)
			e.Setenv("PORT", freePort(e))
			e.Setenv("PORT2", freePort(e))
			testdata, err := filepath.Abs("testdata")
			if err != nil {
				return err
			}
			e.Setenv("TESTDATA", testdata)
			config := filepath.Join(e.WorkDir, "two.yaml")
			if b, err := os.ReadFile(config); err == nil {
				text := strings.NewReplacer("${COPY}", same.URL, "${COPY2}", again.URL, "${STAGING}", changed.URL).Replace(string(b))
				if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
					return err
				}
			}
			for name, answers := range map[string]bool{"traffic.gor": true, "requests.gor": false} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(recordShop(e, same.URL, answers)), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}
