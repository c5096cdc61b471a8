package pulsar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// Kind is the topics of Pulsar as sources. Their places are no numbers.
var Kind = count.Kind{Run: Run, Look: lookAt, Fetch: fetch}

const (
	readLimit  = 5 * time.Second // for a record that must be there
	readersMax = 10              // records that the broker may send ahead to a reader
	nearby     = 1000            // entries that are rather read than jumped over
)

func parsePosition(text string) (count.Position, error) {
	p, err := count.ParsePosition(text, nil)
	if err == nil {
		_, err = parse(p.At)
	}
	return p, err
}

// reader reads a topic by itself, from the entry of a place on.
func reader(client pulsar.Client, topic, name string, from place) (pulsar.Reader, error) {
	return client.CreateReader(pulsar.ReaderOptions{
		Topic: topic, StartMessageID: from.id(), StartMessageIDInclusive: true, ReceiverQueueSize: readersMax, SubscriptionRolePrefix: name + "-look",
	})
}

// look has a reader say whether the record before a place is still there, and, with more, which is the next one behind it. It waits
// for that.
func look(ctx context.Context, client pulsar.Client, topic, name string, at place, more bool) (seen bool, next spot, err error) {
	r, err := reader(client, topic, name, at)
	if err != nil {
		return false, spot{}, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return seen, spot{}, fmt.Errorf("reading behind %s: %w", at, err)
		}
		next = spotOf(m.ID(), m.PublishTime())
		if at.judge(next) != duplicate {
			return seen, next, nil
		}
		if next.ledger == at.ledger && next.entry == at.entry {
			if seen = next.mark == at.mark; !more {
				return seen, spot{}, nil
			}
		}
	}
}

// lookAt asks for the partitions of a topic, and where each would go on.
func lookAt(ctx context.Context, job *count.Job, stored map[string]quipu.Stored) ([]count.Seen, error) {
	client, err := connect(job.Source, job.Log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	names, err := client.TopicPartitions(job.Source.Topic)
	if err != nil {
		return nil, err
	}
	list, errs := make([]count.Seen, len(names)), make([]error, len(names))
	anew := newIncarnation()
	var all sync.WaitGroup
	for i, topic := range names {
		all.Go(func() {
			s := &list[i]
			*s = count.Seen{Name: fmt.Sprintf("%s/%d", job.Source.Name, i), Incarnation: anew, FirstAt: beginning.String(), GoOnAt: beginning.String()}
			errs[i] = see(ctx, client, topic, subscription(job.Source), stored[s.Name], s)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list[i].Name, err)
		}
	}
	return list, nil
}

// see fills in what is known of a partition of which something is stored.
func see(ctx context.Context, client pulsar.Client, topic, name string, stored quipu.Stored, s *count.Seen) error {
	l, err := subscribe(client, topic, name, false, 1)
	if err != nil {
		return err
	}
	last, err := l.last()
	l.Close()
	if err != nil {
		return err
	}
	s.End = beginning.ahead(last)
	if stored.Incarnation == "" {
		return nil
	}
	position, err := parsePosition(stored.Position)
	if err != nil {
		return err
	}
	at, _ := parse(position.At)
	ahead := at.ahead(last)
	if ahead < 0 {
		return nil // it is not the topic that was counted
	}
	seen, next := at.mark == 0, spot{}
	if !seen || ahead > 0 {
		if seen, next, err = look(ctx, client, topic, name, at, ahead > 0); err != nil {
			return err
		}
	}
	if at.mark != 0 && !seen {
		return nil
	}
	s.Incarnation, s.GoOn, s.GoOnAt, s.End = stored.Incarnation, position.Sum(), position.At, position.Sum()+ahead
	if ahead > 0 && at.judge(next) == missing {
		s.GoOn += at.lost(next)
		s.GoOnAt = next.before().String()
	}
	return nil
}

// fetch reads single records again.
func fetch(ctx context.Context, job *count.Job, partition string, at []count.Coord, each func(count.Record)) error {
	if len(at) == 0 {
		return nil
	}
	client, err := connect(job.Source, job.Log)
	if err != nil {
		return err
	}
	defer client.Close()
	names, err := client.TopicPartitions(job.Source.Topic)
	if err != nil {
		return err
	}
	_, text, _ := strings.Cut(partition, "/")
	number, err := strconv.Atoi(text)
	if err != nil || number < 0 || number >= len(names) {
		return fmt.Errorf("topic %s has no partition %q", job.Source.Topic, text)
	}
	l, err := subscribe(client, names[number], subscription(job.Source), false, 1)
	if err != nil {
		return err
	}
	last, err := l.last()
	l.Close()
	if err != nil {
		return err
	}
	list := slices.SortedFunc(slices.Values(at), compare)
	list = slices.DeleteFunc(list, func(c count.Coord) bool { return compare(c, last.coord()) > 0 }) // of another topic
	for len(list) > 0 && err == nil {
		list, err = fetchSome(ctx, client, names[number], subscription(job.Source), list, each)
	}
	return err
}

// compare orders records as the topic does.
func compare(a, b count.Coord) int {
	return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), cmp.Compare(uint32(a.C), uint32(b.C))) // whole is behind all
}

// fetchSome reads records with one reader, and returns those that are too far away for it.
func fetchSome(ctx context.Context, client pulsar.Client, topic, name string, list []count.Coord, each func(count.Record)) ([]count.Coord, error) {
	r, err := reader(client, topic, name, place{list[0].A, list[0].B, whole, 0})
	if err != nil {
		return list, err
	}
	defer r.Close()
	for {
		limited, cancel := context.WithTimeout(ctx, readLimit)
		m, err := r.Next(limited)
		cancel()
		if err != nil {
			return list, err
		}
		c := spotOf(m.ID(), m.PublishTime()).coord()
		for len(list) > 0 && compare(list[0], c) < 0 { // it is gone
			list = list[1:]
		}
		if len(list) > 0 && compare(list[0], c) == 0 {
			each(count.Record{Value: m.Payload(), At: c})
			list = list[1:]
		}
		if len(list) == 0 || list[0].A != c.A || list[0].B > c.B+nearby {
			return list, nil
		}
	}
}
