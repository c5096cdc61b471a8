package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"quipu/connect/internal/ports"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	kafkaScript = "connect/testbed/kafka/start.sh" // in the checkout
	partitions  = 4
	brokerLimit = 5 * time.Minute // until the broker serves; the first time it fetches its jars
)

// broker is Apache Kafka.
type broker struct {
	*process
	addr  string
	admin *kadm.Client
}

func (l *lab) startKafka(ctx context.Context) (*broker, error) {
	port, err := ports.Keep()
	if err != nil {
		return nil, err
	}
	controller, err := ports.Keep()
	if err != nil {
		return nil, err
	}
	b := &broker{addr: loopback(port)}
	b.process, err = l.start("kafka", filepath.Join(l.root, kafkaScript),
		"--port", strconv.Itoa(port), "--controller-port", strconv.Itoa(controller), "--dir", filepath.Join(l.work, "kafka"))
	if err != nil {
		return nil, err
	}
	err = until(ctx, brokerLimit, 100*time.Millisecond, func() (bool, error) {
		if err := b.alive(); err != nil {
			return false, err
		}
		c, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	})
	if err != nil {
		return nil, b.explain(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return nil, err
	}
	b.admin = kadm.NewClient(client)
	return b, client.Ping(ctx)
}

func (b *broker) close() {
	b.admin.Close()
	b.kill()
}

// createTopic makes a topic, and waits until each partition has a leader.
func (b *broker) createTopic(ctx context.Context, name string) (id kadm.TopicID, err error) {
	if _, err := b.admin.CreateTopic(ctx, partitions, 1, nil, name); err != nil {
		return id, err
	}
	err = until(ctx, 30*time.Second, 20*time.Millisecond, func() (bool, error) {
		list, err := b.admin.ListTopics(ctx, name)
		if err != nil {
			return false, err
		}
		topic := list[name]
		leaders := 0
		for _, p := range topic.Partitions {
			if p.Err == nil && p.Leader >= 0 {
				leaders++
			}
		}
		id = topic.ID
		return leaders == partitions, nil
	})
	return id, err
}

// deleteTopics deletes all topics whose names begin with prefix.
func (b *broker) deleteTopics(ctx context.Context, prefix string) error {
	list, err := b.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, name := range list.Names() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	_, err = b.admin.DeleteTopics(ctx, names...)
	return err
}

// ends is where the partitions of a topic end.
func ends(ctx context.Context, admin *kadm.Client, topic string) (map[int32]int64, error) {
	offsets, err := admin.ListEndOffsets(ctx, topic)
	if err := errors.Join(err, offsets.Error()); err != nil {
		return nil, err
	}
	list := map[int32]int64{}
	offsets.Each(func(o kadm.ListedOffset) { list[o.Partition] = o.Offset })
	if len(list) != partitions {
		return nil, fmt.Errorf("topic %s has %d partitions", topic, len(list))
	}
	return list, nil
}
