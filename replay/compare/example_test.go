package compare_test

import (
	"context"
	"fmt"
	"os"

	"kagami"
	"kagami/replay/compare"
)

// Production and staging answer the same request, and do not agree.
func Example() {
	c, err := compare.New(compare.Config{Ignore: []string{"$..at"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := kagami.ParseID("9c4000500a00000100001388")
	if err != nil {
		fmt.Println(err)
		return
	}
	exchange := &kagami.Exchange{ID: id, Method: "GET"}
	message := func(k kagami.Kind, raw string) *kagami.Message {
		return &kagami.Message{Kind: k, Proto: kagami.HTTP1, Raw: []byte(raw), Exchange: exchange}
	}
	err = c.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{
		message(kagami.Request, "GET /users/4711?all HTTP/1.1\r\n\r\n"),
		message(kagami.Response, "HTTP/1.1 200 OK\r\n\r\n"+`{"at":1,"name":"Ann","roles":["a","b"],"age":41}`),
		message(kagami.Replayed, "HTTP/1.1 200 OK\r\n\r\n"+`{"at":2,"name":"Ann","roles":["b"],"age":"41"}`),
	}})
	if err != nil {
		fmt.Println(err)
	}
	if err := c.Close(); err != nil {
		fmt.Println(err)
	}
	if _, err := c.Report().WriteTo(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// compared 1 of 1 exchanges: 1 different, 0 in noise alone
	//       1  GET /users/{id}  missing $.roles[*]
	//          $.roles[0]: production "a", staging nothing  (9c4000500a00000100001388)
	//       1  GET /users/{id}  type $.age
	//          $.age: production 41, staging "41"  (9c4000500a00000100001388)
}
