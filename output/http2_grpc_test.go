package output_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"kagami"
	"kagami/output"
)

// echo is a gRPC method that greets, and knows one name that it will not greet.
func echo(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &wrapperspb.StringValue{}
	if err := decode(in); err != nil {
		return nil, err
	}
	if in.Value == "nobody" {
		return nil, status.Error(codes.NotFound, "nobody is here")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return wrapperspb.String("hello " + in.Value + strings.Join(md.Get("x-from"), ",")), nil
}

// grpcServer starts a gRPC server on loopback.
func grpcServer(t *testing.T, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: echo}},
	}, struct{}{})
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

// grpcFrame is a message of gRPC: not compressed, its length, its bytes.
func grpcFrame(t *testing.T, text string) string {
	t.Helper()
	b, err := proto.Marshal(wrapperspb.String(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b)))) + string(b)
}

// A call that was captured is a call where it is replayed: in clear text, and
// below TLS with a server that speaks nothing but HTTP/2.
func TestHTTP2IsGRPC(t *testing.T) {
	ours := newAuthority(t, "ours")
	secret := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ours.issue(t, "127.0.0.1")}})
	for name, url := range map[string]string{
		"in clear": "http://" + grpcServer(t),
		"TLS":      "https://" + grpcServer(t, grpc.Creds(secret)),
	} {
		t.Run(name, func(t *testing.T) {
			answers := &recordingOutput{}
			h := newHTTP(t, output.HTTPConfig{URL: url, RootCAs: ours.pool(), Answers: answers})
			for _, c := range []struct{ method, text, status, body string }{
				{"Say", "world", "0", "hello worldfrom here"},
				{"Say", "nobody", "5", ""},
				{"Shout", "world", "12", ""},
			} {
				body := grpcFrame(t, c.text)
				m := http2Request(crlf("POST /test.Echo/"+c.method+" HTTP/1.1", "Host: production", "content-type: application/grpc", "te: trailers",
					"user-agent: grpc-go/1.0", "x-from:  from here", fmt.Sprintf("content-length: %d", len(body))) + body)
				seen := watch(t)
				write(t, h, seen, m)
				seen.await(1)
				seen.want(kagami.Delivered)
				all := answers.all()
				got := string(all[len(all)-1].Raw)
				if !strings.HasPrefix(got, "HTTP/1.1 200 \r\n") || !strings.Contains(got, "\r\ngrpc-status: "+c.status+"\r\n") {
					t.Errorf("%s %s: answer %q, want status %s", c.method, c.text, got, c.status)
				}
				if c.body != "" && !strings.Contains(got, grpcFrame(t, c.body)) {
					t.Errorf("answer %q, want the message %q in it", got, c.body)
				}
			}
			if st := h.Stats(); st.Connected != 1 || st.ConnectFailed != 0 {
				t.Errorf("%d connections, %d failed, want one", st.Connected, st.ConnectFailed)
			}
		})
	}
}
