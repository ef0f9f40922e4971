package trust_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kagami/internal/trust"
)

func newDir(t testing.TB) *trust.Dir {
	t.Helper()
	d, err := trust.OpenDir(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func add(t testing.TB, d *trust.Dir, name string) trust.Join {
	t.Helper()
	path, err := d.Add(name, "replayer:28020", "")
	if err != nil {
		t.Fatal(err)
	}
	j, err := trust.ReadJoin(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// shake shakes hands over loopback. who is the listener's identity, nil if it
// was not let in.
func shake(t testing.TB, s *trust.Server, j trust.Join) (client *trust.Conn, server *trust.Conn, who *trust.Identity, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close(); accepted.Close() })
	c, err := trust.JoinClient(func() (trust.Join, error) { return j, nil })
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		var err error
		if server, err = s.Handshake(accepted); err != nil {
			accepted.Close()
		}
		served <- err
	}()
	client, token, err := c.Handshake(t.Context(), raw, "")
	if err != nil {
		raw.Close()
	}
	if served := <-served; served != nil || err != nil {
		return nil, nil, nil, errors.Join(err, served)
	}
	who, err = s.Admit(server, token)
	return client, server, who, err
}

func TestTokens(t *testing.T) {
	d := newDir(t)
	j := add(t, d, "edge")
	s, err := d.Server()
	if err != nil {
		t.Fatal(err)
	}
	_, _, who, err := shake(t, s, j)
	if err != nil || who.Name != "edge" || who.Still() != nil {
		t.Fatalf("%+v, %v", who, err)
	}
	if err := d.Revoke("edge"); err != nil {
		t.Fatal(err)
	}
	if err := who.Still(); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("still admitted: %v", err)
	}
	if _, _, _, err := shake(t, s, j); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("admitted with a revoked token: %v", err)
	}
	// The same name is another token.
	again := add(t, d, "edge")
	if _, _, _, err := shake(t, s, j); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("admitted with the old token of that name: %v", err)
	}
	if who.Still() == nil {
		t.Error("still admitted by a new token of the same name")
	}
	if _, _, _, err := shake(t, s, again); err != nil {
		t.Error(err)
	}
	// A file that is damaged admits nobody, with any token.
	if err := os.WriteFile(filepath.Join(d.Path(), "tokens", "edge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := shake(t, s, again); err == nil {
		t.Error("admitted by an empty file")
	}
	if tokens, err := d.Tokens(); err != nil || len(tokens) != 1 || tokens[0].Err == nil {
		t.Errorf("%+v, %v", tokens, err)
	}
}

func TestClientKnowsItsReplayer(t *testing.T) {
	d, other := newDir(t), newDir(t)
	j, wrong := add(t, d, "edge"), add(t, other, "edge")
	s, err := other.Server()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := shake(t, s, j); !errors.Is(err, trust.ErrUntrusted) || !strings.Contains(err.Error(), wrong.Fingerprints[0].String()) {
		t.Errorf("handshake with another replayer: %v", err)
	}
	j.Fingerprints = append(j.Fingerprints, wrong.Fingerprints...) // while a key is replaced
	if _, _, _, err := shake(t, s, j); err == nil || strings.Contains(err.Error(), "another replayer") {
		t.Errorf("handshake with either replayer: %v", err)
	}
}

func TestKeyIsKept(t *testing.T) {
	d := newDir(t)
	cert, made, err := d.Certificate()
	if err != nil || !made {
		t.Fatal(made, err)
	}
	again, made, err := d.Certificate()
	if err != nil || made || trust.FingerprintOf(again.Certificate[0]) != trust.FingerprintOf(cert.Certificate[0]) {
		t.Error("another key", made, err)
	}
}

// What is written over TLS comes out whole, large or small, and then its end.
func TestConn(t *testing.T) {
	d := newDir(t)
	s, err := d.Server()
	if err != nil {
		t.Fatal(err)
	}
	client, server, _, err := shake(t, s, add(t, d, "edge"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 300<<10)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	for _, n := range []int{1, 20, 16 << 10, 16<<10 + 1, len(want)} {
		go func() {
			if m, err := client.Write(want[:n]); m != n || err != nil {
				t.Error(m, err)
			}
		}()
		got := make([]byte, n)
		if _, err := io.ReadFull(server, got); err != nil || string(got) != string(want[:n]) {
			t.Errorf("%d bytes: %v, or other ones", n, err)
		}
	}
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestJoinFile(t *testing.T) {
	good := add(t, newDir(t), "edge").Text()
	j, err := trust.ParseJoin(good)
	if err != nil || j.Text() != good {
		t.Fatalf("%v: %s", err, j.Text())
	}
	_, secret, _ := strings.Cut(strings.TrimSpace(good), "token edge:")
	if printed := fmt.Sprintf("%v %+v %#v %s %x", j, j, j, j.Token, j.Token); strings.Contains(printed, secret) {
		t.Errorf("the secret is printed: %s", printed)
	}
	var flat []string // as one line, as environments have it
	for line := range strings.Lines(good) {
		if !strings.HasPrefix(line, "#") {
			flat = append(flat, strings.TrimSpace(line))
		}
	}
	if one, err := trust.ParseJoin(strings.Join(flat, " ")); err != nil || one.Text() != good {
		t.Errorf("on one line: %v", err)
	}
	if more, err := trust.ParseJoin(good + "colour blue\r\n"); err != nil || more.Text() != good {
		t.Errorf("with an unknown word: %v", err)
	}
	for name, test := range map[string][2]string{
		"nothing":           {"", "not a join file"},
		"a poem":            {"The frog does not", "not a join file"},
		"a later version":   {"kagami-join 2 x y", "version"},
		"no address":        {strings.Replace(good, "address", "colour", 1), "without an address"},
		"no fingerprint":    {strings.Replace(good, "fingerprint", "colour", 1), "without a fingerprint"},
		"no token":          {strings.Replace(good, "token", "colour", 1), "without a token"},
		"no port":           {strings.Replace(good, ":28020", "", 1), "want HOST:PORT"},
		"cut short":         {good[:len(good)-5], "not whole"},
		"cut before a word": {good[:strings.Index(good, "edge:")], "value is missing"},
		"two tokens":        {good + "token " + j.Token.Text(), "two tokens"},
		"short fingerprint": {strings.Replace(good, "sha256:", "sha256:00", 1), "64 hex digits"},
		"huge":              {good + strings.Repeat("# \n", 10000), "at most"},
	} {
		if _, err := trust.ParseJoin(test[0]); err == nil || !strings.Contains(err.Error(), test[1]) {
			t.Errorf("%s: %v, want %q", name, err, test[1])
		}
	}
}

func FuzzParseJoin(f *testing.F) {
	f.Add("kagami-join 1\naddress a:1\nfingerprint sha256:00\ntoken a:b\n")
	f.Add(add(f, newDir(f), "edge").Text())
	f.Fuzz(func(t *testing.T, text string) {
		j, err := trust.ParseJoin(text)
		if err != nil {
			return
		}
		again, err := trust.ParseJoin(j.Text())
		if err != nil || again.Text() != j.Text() {
			t.Errorf("%q becomes %q: %v", j.Text(), again.Text(), err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	token, err := trust.NewToken("edge")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.Text())
	f.Add("../../etc/passwd:AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := trust.ParseToken(text)
		if err != nil {
			return
		}
		if token.Text() != text {
			t.Errorf("%q becomes %q", text, token.Text())
		}
		if strings.ContainsAny(token.Name, "/\\\x00") || filepath.Base(token.Name) != token.Name || token.Name[0] == '.' {
			t.Errorf("a name that is no file's: %q", token.Name)
		}
	})
}

// FuzzHandshake feeds a server what is no handshake of TLS.
func FuzzHandshake(f *testing.F) {
	d := newDir(f)
	s, err := d.Server()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		go func() {
			go io.Copy(io.Discard, client)
			client.Write(b)
			client.Close()
		}()
		if _, err := s.Handshake(server); err == nil {
			t.Error("a handshake without a key")
		}
		server.Close()
	})
}
