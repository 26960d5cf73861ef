// Command grpc_go is the peer of bench/grpc.py.
//
//	grpc_go serve ANSWER                        a grpc-go server that answers every unary call with that file's bytes; prints `ready HOST:PORT`
//	grpc_go ask HOST:PORT METHOD BODY ANSWER    one call, whose answer becomes a file
//	grpc_go call HOST:PORT METHOD BODY CONNECTIONS STREAMS SECONDS
//	                                            CONNECTIONS x STREAMS callers at once; prints one JSON line
//
// Messages are not even unpacked: both sides hand over bytes.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// plain takes *[]byte for what protobuf takes messages for.
type plain struct{}

func (plain) Name() string { return "proto" }

func (plain) Marshal(value any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*value.(*[]byte))}, nil
}

func (plain) Unmarshal(data mem.BufferSlice, value any) error {
	*value.(*[]byte) = data.Materialize()
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serve(answerPath string) {
	answer := must(os.ReadFile(answerPath))
	handle := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		return &answer, nil
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "holdfast.v1.Orders",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "PlaceOrder", Handler: handle}},
	}, struct{}{})
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println("ready", listener.Addr())
	log.Fatal(server.Serve(listener))
}

func dial(address string) *grpc.ClientConn {
	return must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func ask(address, method, bodyPath, answerPath string) {
	body := must(os.ReadFile(bodyPath))
	var answer []byte
	if err := dial(address).Invoke(context.Background(), method, &body, &answer); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(answerPath, answer, 0o600); err != nil {
		log.Fatal(err)
	}
}

// call returns how long each answered call took, in microseconds.
func call(connection *grpc.ClientConn, method string, body []byte, until time.Time) []float64 {
	var taken []float64
	for time.Now().Before(until) {
		var answer []byte
		began := time.Now()
		if err := connection.Invoke(context.Background(), method, &body, &answer); err != nil {
			log.Fatal(err)
		}
		taken = append(taken, float64(time.Since(began).Nanoseconds())/1e3)
	}
	return taken
}

func load(address, method, bodyPath string, connections, streams int, seconds float64) {
	body := must(os.ReadFile(bodyPath))
	var all []float64
	var lock sync.Mutex
	var callers sync.WaitGroup
	began := time.Now()
	until := began.Add(time.Duration(seconds * 1e9))
	for range connections {
		connection := dial(address)
		defer connection.Close()
		for range streams {
			callers.Go(func() {
				taken := call(connection, method, body, until)
				lock.Lock()
				defer lock.Unlock()
				all = append(all, taken...)
			})
		}
	}
	callers.Wait()
	took := time.Since(began).Seconds()
	slices.Sort(all)
	out := must(json.Marshal(map[string]any{
		"calls": len(all), "seconds": took, "p50_us": all[len(all)/2], "p99_us": all[len(all)*99/100],
	}))
	fmt.Println(string(out))
}

func main() {
	encoding.RegisterCodecV2(plain{})
	words := os.Args[1:]
	switch {
	case len(words) == 2 && words[0] == "serve":
		serve(words[1])
	case len(words) == 5 && words[0] == "ask":
		ask(words[1], words[2], words[3], words[4])
	case len(words) == 7 && words[0] == "call":
		load(words[1], words[2], words[3], must(strconv.Atoi(words[4])), must(strconv.Atoi(words[5])), must(strconv.ParseFloat(words[6], 64)))
	default:
		log.Fatal("usage: grpc_go serve ANSWER | ask HOST:PORT METHOD BODY ANSWER | call HOST:PORT METHOD BODY CONNECTIONS STREAMS SECONDS")
	}
}
