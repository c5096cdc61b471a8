package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// TestCounts: every record counts once, over a restart, and the identity adds up.
func TestCounts(t *testing.T) {
	for _, mode := range []string{group, "group none\n  partitions 0-1"} {
		t.Run(strings.Fields(mode)[1], func(t *testing.T) {
			b := newBed(t, 2)
			b.produce(likes(0, "a", 300)...)
			b.produce(likes(1, "a", 50)...)
			job := b.job(mode + "\n  when user_id != \"u7\"")
			stop := b.run(job)
			b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 300 })
			b.await(job, "likes/1", "counted", func(s count.Snapshot) bool { return s.Place == 50 })
			stop()
			b.produce(likes(0, "b", 20)...)
			again := b.job(mode + "\n  when user_id != \"u7\"")
			b.run(again)
			s := b.await(again, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 320 })
			b.exact(s)
			if s.Position.Counted != 318 || s.Position.Filtered != 2 {
				t.Errorf("position %+v, want 318 counted and 2 filtered", s.Position)
			}
			b.expect(map[string]int64{"likes:a": 348, "likes:b": 19})
		})
	}
}

// TestTransactions: aborted records do not count, and the position goes on behind the markers, also at the end.
func TestTransactions(t *testing.T) {
	b := newBed(t, 1)
	producer := b.client(kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 20 {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), likes(0, "a", 50)...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := producer.EndTransaction(t.Context(), kgo.TransactionEndTry(i%5 != 4)); err != nil {
			t.Fatal(err)
		}
	}
	job := b.job(group)
	b.run(job)
	s := b.await(job, "likes/0", "at the end", func(s count.Snapshot) bool { return s.Place == 1020 })
	b.exact(s)
	want := count.Identity{Counted: 800, Markers: 20, Invisible: 200}
	if s.Position.Identity != want {
		t.Errorf("identity %+v, want %+v", s.Position.Identity, want)
	}
	b.expect(map[string]int64{"likes:a": 800})
}

// TestOpenTransaction: what is behind a transaction that does not end is waited for, and the state says so.
func TestOpenTransaction(t *testing.T) {
	b := newBed(t, 1)
	producer := b.client(kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(t.Context(), likes(0, "a", 5)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.produce(likes(0, "b", 5)...)
	job := b.job(group)
	b.run(job)
	s := b.awaitState(job, "likes/0", count.OpenTxn)
	if !strings.Contains(s.Reason, "began at 0") || s.Lag() != 10 {
		t.Errorf("the state says %q, lag %d", s.Reason, s.Lag())
	}
	b.expect(map[string]int64{"likes:a": 0, "likes:b": 0})
	if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.State == count.Counting && s.Place == 11 })
	b.expect(map[string]int64{"likes:a": 5, "likes:b": 5})
}

// TestDoubled: two connectors that read the same partition, as after a rebalance that one of them slept through, count each record once.
func TestDoubled(t *testing.T) {
	b := newBed(t, 1)
	const mode = "group none\n  partitions 0\n  batch 20"
	one, two := b.job(mode), b.job(mode)
	b.run(one)
	b.run(two)
	for range 100 {
		b.produce(likes(0, "a", 50)...)
	}
	for _, job := range []*count.Job{one, two} {
		b.exact(b.awaitCounted(job, "likes/0", 5000))
	}
	b.expect(map[string]int64{"likes:a": 5000})
}

// TestGroupOffsets: what somebody commits to the group does not matter.
func TestGroupOffsets(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "a", 100)...)
	var offsets kadm.Offsets
	offsets.AddOffset("likes", 0, 90, -1)
	if err := b.admin.CommitAllOffsets(t.Context(), "likes-counters", offsets); err != nil {
		t.Fatal(err)
	}
	job := b.job(group)
	b.run(job)
	b.await(job, "likes/0", "at the end", func(s count.Snapshot) bool { return s.Place == 100 })
	b.expect(map[string]int64{"likes:a": 100})
	// but it is told how far we are
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		fetched, err := b.admin.FetchOffsets(t.Context(), "likes-counters")
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := fetched.Lookup("likes", 0); ok && o.At == 100 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the group has %v, want 100", fetched)
		}
	}
}

// TestRecreated: a topic that was deleted and created again is not taken for the old one, neither by a connector that runs nor by
// one that starts, and is counted from its beginning when somebody accepts it.
func TestRecreated(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint(running), func(t *testing.T) {
			b := newBed(t, 1)
			b.produce(likes(0, "a", 10)...)
			job := b.job(group)
			stop := b.run(job)
			b.awaitCounted(job, "likes/0", 10)
			if !running {
				stop()
			}
			if _, err := b.admin.DeleteTopics(t.Context(), "likes"); err != nil {
				t.Fatal(err)
			}
			if _, err := b.admin.CreateTopics(t.Context(), 1, 1, nil, "likes"); err != nil {
				t.Fatal(err)
			}
			b.kafka.PurgeTopicsFromClient("likes")
			b.produce(likes(0, "b", 30)...)
			if !running {
				job = b.job(group)
				b.run(job)
			}
			b.awaitState(job, "likes/0", count.NewIncarnation)
			b.expect(map[string]int64{"likes:a": 10, "likes:b": 0})
			b.accept(job)
			b.exact(b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.State == count.Counting && s.Place == 30 }))
			b.expect(map[string]int64{"likes:a": 10, "likes:b": 30})
		})
	}
}

// accept does what the command accept does.
func (b *bed) accept(job *count.Job) {
	b.Helper()
	stored := map[string]quipu.Stored{}
	list, err := job.Quipu.List(b.Context(), "likes/*", nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range list {
		stored[s.Name] = s
	}
	seen, err := Kind.Look(b.Context(), job, stored)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range seen {
		to, what, err := count.Accepted(Kind, stored[s.Name], s)
		if err != nil || what == "" {
			b.Fatalf("nothing to accept: %v", err)
		}
		if err := b.redis.Do(b.Context(), "INGEST", "SET", s.Name, s.Incarnation, to.String()).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRetention: records that are gone before they were counted are a gap, which is named; accepted, it is kept in the identity.
func TestRetention(t *testing.T) {
	for _, byItself := range []bool{false, true} {
		t.Run(fmt.Sprint(byItself), func(t *testing.T) {
			b := newBed(t, 1)
			b.produce(likes(0, "a", 10)...)
			mode := group
			if byItself {
				mode += "\n  on-gap accept"
			}
			first := b.job(mode)
			stop := b.run(first)
			b.awaitCounted(first, "likes/0", 10)
			stop()
			b.produce(likes(0, "b", 100)...)
			var offsets kadm.Offsets
			offsets.AddOffset("likes", 0, 60, -1)
			if _, err := b.admin.DeleteRecords(t.Context(), offsets); err != nil {
				t.Fatal(err)
			}
			job := b.job(mode)
			b.run(job)
			if !byItself {
				s := b.awaitState(job, "likes/0", count.Gap)
				if !strings.Contains(s.Reason, "10 to 59") {
					t.Errorf("the state says %q, which does not name the gap", s.Reason)
				}
				b.expect(map[string]int64{"likes:b": 0})
				b.accept(job)
			}
			s := b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 110 })
			b.exact(s)
			if s.Position.Lost != 50 {
				t.Errorf("position %+v, want 50 lost", s.Position)
			}
			b.expect(map[string]int64{"likes:a": 10, "likes:b": 50})
		})
	}
}

// TestCutOff: a log that was cut off below what is counted, and has grown again, is noticed by its leader epoch.
func TestCutOff(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "a", 100)...)
	first := b.job(group)
	stop := b.run(first)
	b.awaitCounted(first, "likes/0", 100)
	stop()
	b.produce(likes(0, "b", 100)...)
	b.broker.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.KeepControl()
		asked := req.(*kmsg.OffsetForLeaderEpochRequest)
		answer := asked.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = "likes"
		part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		part.LeaderEpoch = asked.Topics[0].Partitions[0].LeaderEpoch
		part.EndOffset = 80 // the epoch that wrote record 99 ended at 80: it was lost, and another stands there
		topic.Partitions = append(topic.Partitions, part)
		answer.Topics = append(answer.Topics, topic)
		return answer, nil, true
	})
	job := b.job(group)
	b.run(job)
	b.awaitState(job, "likes/0", count.Gap)
	b.expect(map[string]int64{"likes:b": 0})
	b.accept(job)
	s := b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 200 })
	b.exact(s)
	if s.Position.Lost != -20 {
		t.Errorf("position %+v, want −20 lost", s.Position)
	}
}

// TestPartitionAdded: a partition that is added later is counted from its first record, also where the source began with the latest.
func TestPartitionAdded(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "old", 10)...)
	job := b.job(group + "\n  start latest")
	stop := b.run(job)
	b.await(job, "likes/0", "seated", func(s count.Snapshot) bool { return s.State == count.Counting && s.Place == 10 })
	b.produce(likes(0, "a", 10)...)
	b.awaitCounted(job, "likes/0", 10)
	stop()
	if _, err := b.admin.CreatePartitions(t.Context(), 1, "likes"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		err := b.kafka.ProduceSync(t.Context(), likes(1, "a", 5)...).FirstErr()
		if err == nil {
			break
		}
		b.kafka.ForceMetadataRefresh()
		time.Sleep(20 * time.Millisecond)
	}
	again := b.job(group + "\n  start latest")
	b.run(again)
	b.awaitCounted(again, "likes/1", 5)
	b.expect(map[string]int64{"likes:a": 15, "likes:old": 0})
}

// TestBadRecord: the partition stops at a record that cannot be read, and what is before it is counted; or it is set aside.
func TestBadRecord(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "a", 10)...)
	b.produce(&kgo.Record{Topic: "likes", Value: []byte("{not json")})
	b.produce(likes(0, "b", 10)...)
	job := b.job(group)
	stop := b.run(job)
	s := b.awaitState(job, "likes/0", count.BadRecordState)
	if s.Position.Counted != 10 || !strings.Contains(s.Reason, "likes/0, offset 10:") {
		t.Errorf("stopped with %+v", s)
	}
	b.expect(map[string]int64{"likes:a": 10, "likes:b": 0})
	stop()
	job = b.job(group + "\n  on-bad-record park likes.dead")
	b.run(job)
	s = b.await(job, "likes/0", "at the end", func(s count.Snapshot) bool { return s.Place == 21 })
	b.exact(s)
	if s.Position.Parked != 1 {
		t.Errorf("position %+v, want 1 set aside", s.Position)
	}
	b.expect(map[string]int64{"likes:b": 10})
	line, err := b.redis.Get(t.Context(), "likes.dead/0").Result()
	if err != nil || !strings.HasPrefix(line, "10:0:0 ") {
		t.Errorf("set aside: %q, %v", line, err)
	}
	var found []string
	err = Kind.Fetch(t.Context(), job, "likes/0", []count.Coord{{A: 10}}, func(r count.Record) { found = append(found, string(r.Value)) })
	if err != nil || len(found) != 1 || found[0] != "{not json" {
		t.Errorf("read again: %q, %v", found, err)
	}
}

// TestNoRoom: while Quipu has no memory left, records wait at the broker; then they count once.
func TestNoRoom(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "a", 10)...)
	job := b.job(group)
	b.run(job)
	b.awaitCounted(job, "likes/0", 10)
	for _, key := range []string{"large1", "large2", "large3"} {
		if err := b.redis.Set(t.Context(), key, strings.Repeat("x", 500_000), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.redis.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	b.produce(likes(0, "a", 90)...)
	if s := b.awaitState(job, "likes/0", count.Waiting); !strings.Contains(s.Reason, "OOM") {
		t.Errorf("waiting because of %q", s.Reason)
	}
	b.expect(map[string]int64{"likes:a": 10})
	if err := b.redis.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	b.exact(b.awaitCounted(job, "likes/0", 100))
	b.expect(map[string]int64{"likes:a": 100})
}

// TestRefused: a key that holds a text refuses its increments, which is counted; others go on.
func TestRefused(t *testing.T) {
	b := newBed(t, 1)
	if err := b.redis.Set(t.Context(), "likes:a", "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	job := b.job(group)
	b.run(job)
	b.produce(append(likes(0, "a", 7), likes(0, "b", 5)...)...)
	b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 12 && s.RefusedCommands > 0 })
	b.produce(likes(0, "b", 1)...)
	s := b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Place == 13 })
	b.exact(s)
	if s.Position.Refused != 7 || s.Position.Counted != 6 {
		t.Errorf("position %+v, want 7 refused and 6 counted", s.Position)
	}
	b.expect(map[string]int64{"likes:b": 6})
}

// TestRestored: where a backup of Quipu was restored, counts and positions are old; what came since is counted again, once.
func TestRestored(t *testing.T) {
	b := newBed(t, 1)
	b.produce(likes(0, "a", 50)...)
	job := b.job(group)
	b.run(job)
	b.awaitCounted(job, "likes/0", 50)
	backup, err := b.redis.Do(t.Context(), "INGEST", "POSITION", "likes/0").StringSlice()
	if err != nil {
		t.Fatal(err)
	}
	b.produce(likes(0, "a", 50)...)
	b.awaitCounted(job, "likes/0", 100)
	_, err = b.redis.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Do(t.Context(), "INGEST", "SET", "likes/0", backup[0], backup[1])
		p.Set(t.Context(), "likes:a", 50, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.produce(likes(0, "a", 10)...)
	b.exact(b.await(job, "likes/0", "counted", func(s count.Snapshot) bool { return s.Position.Counted == 110 }))
	b.expect(map[string]int64{"likes:a": 110})
}

// TestLate: an event whose bucket has expired does not bring its key back to life, and is counted as late.
func TestLate(t *testing.T) {
	b := newBed(t, 1)
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(-100 * time.Hour)} {
		b.produce(&kgo.Record{Topic: "likes", Value: fmt.Appendf(nil, `{"post_id":"a","ts":%d}`, at.UnixMilli())})
	}
	job := b.job(group + "\n  INCR day:{post_id}:{ts|day} expire 2d")
	b.run(job)
	s := b.awaitCounted(job, "likes/0", 2)
	b.exact(s)
	day := func(at time.Time) string { return "day:a:" + at.UTC().Format("2006-01-02") }
	if s.Position.Late != 1 {
		t.Errorf("position %v, want 1 late", s.Position)
	}
	b.expect(map[string]int64{"likes:a": 2, day(now): 1, day(now.Add(-100 * time.Hour)): 0})
	ttl, err := b.redis.TTL(t.Context(), day(now)).Result()
	if end := now.UTC().Truncate(24 * time.Hour).Add(72 * time.Hour); err != nil || (ttl-time.Until(end)).Abs() > 5*time.Second {
		t.Errorf("lives for %v, %v, want until %v", ttl, err, end)
	}
}

// TestBomb: a batch that decompresses to more than the limit is not unpacked.
func TestBomb(t *testing.T) {
	b := newBed(t, 1, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "200000000"}))
	big := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(100<<20), kgo.BrokerMaxWriteBytes(200<<20),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	b.produce(likes(0, "a", 3)...)
	err := big.ProduceSync(t.Context(), &kgo.Record{Topic: "likes", Value: make([]byte, 80<<20)}).FirstErr()
	if errors.Is(err, kerr.MessageTooLarge) {
		t.Skip("the broker does not take it")
	}
	if err != nil {
		t.Fatal(err)
	}
	job := b.job(group)
	b.run(job)
	if s := b.awaitState(job, "likes/0", count.BadRecordState); !strings.Contains(s.Reason, "at 3 decompresses") || !strings.Contains(s.Reason, "-at 4 ") {
		t.Errorf("stopped because of %q", s.Reason)
	}
	b.expect(map[string]int64{"likes:a": 3})
}
