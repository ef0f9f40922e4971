package stream_test

import (
	"bytes"
	"fmt"
	"io"

	"kagami"
	"kagami/internal/stream"
)

func Example() {
	var file bytes.Buffer
	w, err := stream.NewFileWriter(&file, stream.FileWriterConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, _ := kagami.ParseID("c0ffee")
	_ = w.Write(&kagami.Message{
		Kind:     kagami.Request,
		Proto:    kagami.HTTP1,
		Raw:      []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		Exchange: &kagami.Exchange{ID: id},
	})
	_ = w.Flush()

	r, err := stream.NewFileReader(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s of %d bytes, hop %d\n", m.Exchange.ID, m.Kind, len(m.Raw), m.Hop)
	}
	// Output: c0ffee request of 37 bytes, hop 1
}
