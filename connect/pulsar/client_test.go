package pulsar

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/config"
)

// TestQuiet says which lines of the client's log are passed on.
func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(&quiet{Handler: slog.NewTextHandler(&out, nil), told: &told{at: map[string]time.Time{}}})
	l.Debug("Got Message: 1")
	l.Info("Connected consumer")
	l.With("error", errors.New("server error: ConsumerBusy: Exclusive consumer is already connected")).Error("Failed to create consumer")
	l.WithGroup("g").With("a", "server error: ConsumerBusy").WithGroup("h").Error("Failed to create consumer")
	l.Warn("Got unexpected message: ledgerId:52  entryId:0")
	l.With("error", errors.New("consumer closing or closed")).Error("unable to send permits")
	if out.Len() > 0 {
		t.Errorf("passed on: %s", &out)
	}
	l.Error("Failed to connect to broker 1")
	l.With("source", "likes").Error("Failed to connect to broker 2")
	l.Warn("Detected stale connection to broker")
	got := strings.TrimSpace(out.String())
	if strings.Count(got, "\n") != 1 || strings.Count(got, "level=WARN") != 2 || !strings.Contains(got, `msg="pulsar: Failed to connect to broker 1"`) {
		t.Errorf("passed on: %s", got)
	}
}

// TestLink says how a link learns that its connection is lost.
func TestLink(t *testing.T) {
	fresh := func(c consumer) *link {
		return &link{consumer: c, lost: make(chan struct{}), failed: make(chan struct{})}
	}
	isLost := func(l *link) bool {
		select {
		case <-l.lost:
			return true
		default:
			return false
		}
	}
	asked := &asked{}
	l := fresh(asked)
	asked.answer = func() error { l.policy(); return nil } // the client does so with each question
	if last, err := l.last(); err != nil || last.entry != 7 || isLost(l) {
		t.Errorf("%v, %v, lost %v", last, err, isLost(l))
	}
	l.policy() // the connection is lost
	if !isLost(l) {
		t.Error("the loss of the connection is not noticed")
	}
	if _, err := l.last(); !errors.Is(err, errLost) || asked.times != 1 {
		t.Errorf("%v, asked %d times", err, asked.times)
	}
	l = fresh(asked)
	never := make(chan struct{})
	defer close(never)
	asked.answer = func() error { l.policy().Next(); <-never; return nil } // no answer: the client waits before it asks again
	if _, err := l.last(); !errors.Is(err, errLost) || !isLost(l) {
		t.Errorf("%v, lost %v", err, isLost(l))
	}
	l = fresh(asked)
	asked.answer = func() error { return errors.New("closed") }
	if _, err := l.last(); !errors.Is(err, errLost) {
		t.Error(err)
	}
}

// asked is a consumer that can only be asked for the last message.
type asked struct {
	consumer
	answer func() error
	times  int
}

type lastID struct{ pulsar.MessageID }

func (lastID) Topic() string { return "" }

func (a *asked) GetLastMessageIDs() ([]pulsar.TopicMessageID, error) {
	a.times++
	if err := a.answer(); err != nil {
		return nil, err
	}
	return []pulsar.TopicMessageID{lastID{pulsar.NewMessageID(3, 7, -1, 0)}}, nil
}

func TestSubscription(t *testing.T) {
	for want, src := range map[string]config.Source{"quipu-likes": {Name: "likes"}, "mine": {Name: "likes", Group: "mine"}} {
		if got := subscription(&src); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	if !busy(errors.New("server error: ConsumerBusy: Exclusive consumer is already connected")) ||
		busy(errors.New("server error: ConsumerBusy: Subscription is of different type")) || busy(errors.New("request timed out")) {
		t.Error("it is not known when another connector has a partition")
	}
}
