package pulsar

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"quipu/connect/config"
	"quipu/connect/count"
)

const (
	connectLimit = 3 * time.Second
	answerLimit  = 5 * time.Second  // of the broker, for one request
	pingTime     = 10 * time.Second // a broker that does not answer is given up after twice as long
	queueSize    = 1000             // messages that the broker may send ahead of what is counted
	never        = 100 * 365 * 24 * time.Hour
)

// connect returns a client for the brokers of a source. It connects when it is first used.
func connect(src *config.Source, logger *slog.Logger) (pulsar.Client, error) {
	return pulsar.NewClient(pulsar.ClientOptions{
		URL: src.URL, ConnectionTimeout: connectLimit, OperationTimeout: answerLimit, KeepAliveInterval: pingTime, TLSValidateHostname: true,
		Logger: log.NewLoggerWithSlog(slog.New(&quiet{Handler: logger.Handler(), told: &told{at: map[string]time.Time{}}})),
	})
}

// subscription is the name under which people see the source at the broker.
func subscription(src *config.Source) string {
	if src.Group != "" {
		return src.Group
	}
	return "quipu-" + src.Name
}

// consumer is what is used of the client's consumer. Tests stand in between.
type consumer interface {
	Chan() <-chan pulsar.ConsumerMessage
	AckIDCumulative(pulsar.MessageID) error
	GetLastMessageIDs() ([]pulsar.TopicMessageID, error)
	Seek(pulsar.MessageID) error
	Close()
}

// link is a consumer for as long as it has its connection: it never gets another one.
//
// The client would ask a policy how long to wait before it tries to connect again, or to ask again. That is how a link learns that
// the connection is lost. All calls of a link are made by one goroutine, so that no request can be on its way while the consumer is
// closed: the client would wait for its answer forever.
type link struct {
	consumer
	lost, failed         chan struct{} // closed: without connection; a request got no answer
	onceLost, onceFailed sync.Once
	asking               atomic.Bool
}

var errLost = errors.New("the connection to the broker is lost")

// subscribe opens an exclusive consumer of a topic without partitions, or of one partition, for which the broker may send so many
// messages ahead. With durable it has the subscription of that name, which no two may have, else one of its own that is gone
// afterwards.
func subscribe(client pulsar.Client, topic, name string, durable bool, ahead int) (*link, error) {
	l := &link{lost: make(chan struct{}), failed: make(chan struct{})}
	no := uint(0)
	options := pulsar.ConsumerOptions{
		Topic: topic, SubscriptionName: name, Type: pulsar.Exclusive, SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
		ReceiverQueueSize: ahead, MessageChannel: make(chan pulsar.ConsumerMessage, ahead), // so it is twice as many
		AutoDiscoveryPeriod: never, MaxReconnectToBroker: &no, BackOffPolicyFunc: l.policy,
		AckGroupingOptions: &pulsar.AckGroupingOptions{MaxSize: 1}, // else it drops what it takes for acknowledged, also after Seek
	}
	if !durable {
		options.SubscriptionMode = pulsar.NonDurable
		options.SubscriptionName += "-look-" + rand.Text()
	}
	var err error
	l.consumer, err = client.Subscribe(options)
	return l, err
}

// policy is asked for by the client when it has lost the connection, or is asked something.
func (l *link) policy() backoff.Policy {
	if !l.asking.Load() {
		l.onceLost.Do(func() { close(l.lost) })
	}
	return l
}

// Next is called by the client when a request has failed. It waits so long before it asks again; before that its own limit, which
// began earlier and is as long, is over.
func (l *link) Next() time.Duration {
	l.onceLost.Do(func() { close(l.lost) })
	l.onceFailed.Do(func() { close(l.failed) })
	return answerLimit
}

// IsMaxBackoffReached implements backoff.Policy.
func (l *link) IsMaxBackoffReached() bool { return false }

// Reset implements backoff.Policy.
func (l *link) Reset() {}

// last is the last record of the topic, -1:-1 if it has none.
func (l *link) last() (spot, error) {
	select {
	case <-l.lost:
		return spot{}, errLost
	default:
	}
	type answer struct {
		ids []pulsar.TopicMessageID
		err error
	}
	answered := make(chan answer, 1)
	l.asking.Store(true)
	defer l.asking.Store(false)
	go func() {
		ids, err := l.GetLastMessageIDs()
		answered <- answer{ids, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil || len(a.ids) != 1 {
			return spot{}, errors.Join(errLost, a.err)
		}
		return spotOf(a.ids[0], time.Time{}), nil
	case <-l.failed:
		return spot{}, errLost
	}
}

// The errors of the broker are texts.

// busy reports whether another connector has the partition.
func busy(err error) bool {
	return strings.Contains(err.Error(), "ConsumerBusy") && !strings.Contains(err.Error(), "different type")
}

// broken says that a partition, or the source, is not counted because of an error that may go away by itself.
func broken(r *count.Report, err error) {
	state := count.NoBroker
	if strings.Contains(err.Error(), "TopicNotFound") {
		state = count.NoTopic
	}
	r.Set(state, strings.ReplaceAll(err.Error(), "\n", ": "))
}

// quiet passes on what the client warns of, each once a minute, as a warning: what fails is tried again.
type quiet struct {
	slog.Handler
	told *told
	mute bool
}

// told is when a warning was last passed on.
type told struct {
	mu sync.Mutex
	at map[string]time.Time
}

const toldMost = 200 // warnings that are kept in mind

// muted is what is no reason for a warning: that another connector has a partition, and that messages come for a consumer that has sought
// or is being closed.
func muted(text string) bool {
	return strings.Contains(text, "ConsumerBusy") || strings.Contains(text, "Got unexpected message") || strings.Contains(text, "closing or closed")
}

// Enabled implements slog.Handler.
func (q *quiet) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && !q.mute
}

// Handle implements slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if muted(r.Message) || !q.told.first(r.Message) {
		return nil
	}
	r.Message, r.Level = "pulsar: "+r.Message, slog.LevelWarn
	return q.Handler.Handle(ctx, r)
}

// first reports whether a warning has not been there for a minute. Those that differ in numbers are the same.
func (t *told) first(text string) bool {
	key := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.at[key]) < time.Minute {
		return false
	}
	if len(t.at) >= toldMost {
		clear(t.at)
	}
	t.at[key] = now
	return true
}

// WithAttrs implements slog.Handler.
func (q *quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := &quiet{q.Handler.WithAttrs(attrs), q.told, q.mute}
	for _, a := range attrs {
		next.mute = next.mute || muted(a.Value.String())
	}
	return next
}

// WithGroup implements slog.Handler.
func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.told, q.mute}
}
