package trust_test

import (
	"fmt"
	"os"

	"kagami/internal/trust"
)

// A replayer makes its key and a token; a listener reads the join file.
func Example() {
	path, err := os.MkdirTemp("", "kagami")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	dir, err := trust.OpenDir(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := dir.Add("edge", "replayer.example.com:28020", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := trust.JoinClient(func() (trust.Join, error) { return trust.ReadJoin(file) })
	fmt.Println(client != nil, err)
	tokens, err := dir.Tokens()
	fmt.Println(tokens[0].Name, err)
	// Output:
	// true <nil>
	// edge <nil>
}
