package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bareCommand is the first argument that makes this program the bare consumer.
const bareCommand = "bare"

// bare is the consumer that quipu-connect is compared with, as a process of its own: it reads a topic from its beginning to its
// end with franz-go's defaults, checks the JSON, takes one field, and counts in memory. Arguments: broker and topic.
func bare(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: bench bare BROKER TOPIC")
	}
	ctx, topic := context.Background(), args[1]
	client, err := kgo.NewClient(kgo.SeedBrokers(args[0]), kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	left, err := ends(ctx, kadm.NewClient(client), topic)
	if err != nil {
		return err
	}
	for number, end := range left {
		if end == 0 {
			delete(left, number)
		}
	}
	counts := map[string]int64{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if !gjson.ValidBytes(r.Value) {
					continue
				}
				counts[gjson.GetBytes(r.Value, "post_id").Str]++
			}
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
	}
	sum := int64(0)
	for _, n := range counts {
		sum += n
	}
	fmt.Printf("counted %d\n", sum)
	return nil
}
