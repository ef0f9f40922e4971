package replay_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kagami"
	"kagami/replay"
)

// recording is a file as GoReplay writes it: two requests, half a second apart,
// and the answer to the first.
const recording = "1 9c4000500a00000100001388 1700000000000000000 0\nGET /first HTTP/1.1\r\n\r\n\n🐵🙈🙉\n" +
	"2 9c4000500a00000100001388 1700000000100000000 0\nHTTP/1.1 204 No Content\r\n\r\n\n🐵🙈🙉\n" +
	"1 9c4100500a00000100001388 1700000000500000000 0\nGET /second HTTP/1.1\r\n\r\n\n🐵🙈🙉\n"

// A recording is replayed twice as fast as it was made.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "traffic.gor")
	if err := os.WriteFile(path, []byte(recording), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	begin := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	files, err := replay.NewFiles(replay.FilesConfig{
		Patterns: []string{filepath.Join(dir, "*.gor")},
		Speed:    2,
		Now:      func() time.Time { return begin },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = files.Run(context.Background(), func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			fmt.Println(m.Due.Sub(begin), m.Kind, "of a", m.Exchange.Method)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 0s request of a GET
	// 50ms response of a GET
	// 250ms request of a GET
	// <nil>
}

func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cut.gor")
	if err := os.WriteFile(path, []byte(recording[:150]), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	r, err := replay.OpenFile(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err.Error()[len(dir)+1:])
			break
		}
		fmt.Printf("%s %s\n", m.Start.Format(time.TimeOnly), m.Kind)
	}
	// Output:
	// 22:13:20 request
	// cut.gor: cut short: the record that begins at byte 86 has no end
}
