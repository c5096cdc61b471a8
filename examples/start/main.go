// Command start counts with go-redis: clicks, and a quota of each visitor.
//
//	go run ./examples/start 127.0.0.1:6379
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx := context.Background()
	quipu := redis.NewClient(&redis.Options{Addr: os.Args[1]})
	defer quipu.Close()

	clicks, err := quipu.IncrBy(ctx, "clicks", 10).Result()
	if err != nil {
		log.Fatal(err) // not counted, or perhaps: docs/durability.md
	}
	fmt.Println("clicks:", clicks)

	// At most 3 within a minute. The reply is the new value, and what was added: 0 when the quota is used up.
	for range 4 {
		reply, err := quipu.Do(ctx, "INCREX", "quota:alice", "BYINT", 1, "UBOUND", 3, "EX", 60, "ENX").Int64Slice()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("allowed:", reply[1] == 1)
	}
}
