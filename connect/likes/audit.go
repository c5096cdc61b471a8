package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"quipu/connect/likes/parts"
	"quipu/connect/likes/produce"
)

// killed is a part that was killed, and what that has cost as soon as it is known. The page shows the last ones.
type killed struct {
	Number  int    `json:"number"`
	At      string `json:"at"` // time of day
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Back    string `json:"back"`    // empty until it is back
	Outcome string `json:"outcome"` // empty until it is judged
	Detail  string `json:"detail"`
	Good    bool   `json:"good"`

	part string
	at   time.Time
}

const (
	logMax       = 12
	auditPause   = 50 * time.Millisecond
	throughLimit = 30 * time.Second
	meetLimit    = time.Minute // from when the firehose is held until the numbers must have met
	compareLimit = 5 * time.Second
)

// audit says of every part that was killed what was lost by it, as soon as all parts are back.
//
// Nothing is assumed: the firehose is held, so that the numbers can meet at all; then what the producer was told to be in the topic is
// compared with what the broker says is in it, what Quipu has counted and what the database holds, post by post. One audit
// judges all kills since the one before.
func (d *demo) audit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kills:
		}
		list := d.awaitBack(ctx)
		d.awaitThrough(ctx, d.producer.Ledger.Sent())
		release := d.fire.Hold()
		outcome, detail, good := d.judge(ctx)
		release()
		if ctx.Err() != nil {
			return
		}
		for _, number := range list {
			d.change(number, func(k *killed) { k.Outcome, k.Detail, k.Good = outcome, detail, good })
		}
	}
}

// awaitBack waits until no part is away, and returns the numbers of those that were killed and are not judged.
func (d *demo) awaitBack(ctx context.Context) []int {
	for {
		status, changed := d.crew.Status()
		if list, all := d.back(status); all {
			return list
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// awaitThrough waits until so many likes have come all the way, so that the firehose is held for a moment only: a sink whose
// connector was killed is taken over after some seconds. Where more comes than goes through, it does not wait for ever.
func (d *demo) awaitThrough(ctx context.Context, sent int64) {
	limit := time.After(throughLimit)
	for d.sql.Total() < sent {
		select {
		case <-ctx.Done():
			return
		case <-limit:
			return
		case <-time.After(auditPause):
		}
	}
}

// back notes which killed parts are back; all tells whether every part is.
func (d *demo) back(status []parts.Status) (list []int, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all = true
	for _, s := range status {
		all = all && s.State == parts.Up
		for i := range d.log {
			k := &d.log[i]
			if k.part != s.Name || k.Outcome != "" {
				continue
			}
			list = append(list, k.Number)
			if took := s.Back.Sub(k.at); s.State == parts.Up && took > 0 {
				k.Back = fmt.Sprintf("%.1f s", took.Seconds())
			}
			all = all && k.Back != "" // else it is the process before its end
		}
	}
	_ = d.hub.Set("log", d.log)
	return list, all
}

// enter puts a part on the log that is about to be killed: before it is dead, so that nobody takes it for back.
func (d *demo) enter(part parts.Status, leads bool) (number int) {
	name := part.Name
	if leads {
		name += ", the leader"
	} else if part.Kind == parts.Broker {
		name = "the " + name
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	now := time.Now()
	d.log = append(d.log, killed{Number: d.number, At: now.Format(time.TimeOnly), Name: capital(name), PID: part.PID, part: part.Name, at: now})
	d.log = d.log[max(0, len(d.log)-logMax):]
	_ = d.hub.Set("log", d.log) // texts and numbers can always be written
	return d.number
}

// change changes the entry of a number, if it is still there.
func (d *demo) change(number int, change func(*killed)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.log {
		if d.log[i].Number == number {
			change(&d.log[i])
		}
	}
	_ = d.hub.Set("log", d.log)
}

// drop removes an entry: the part did not run any more.
func (d *demo) drop(number int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = slices.DeleteFunc(d.log, func(k killed) bool { return k.Number == number })
	_ = d.hub.Set("log", d.log)
}

// judge waits until the numbers have met, and says what was lost.
func (d *demo) judge(ctx context.Context) (outcome, detail string, good bool) {
	limit := time.After(meetLimit)
	for {
		if outcome, detail, good = d.compare(ctx); good {
			return outcome, detail, true
		}
		select {
		case <-ctx.Done():
			return outcome, detail, false
		case <-limit:
			return outcome, fmt.Sprintf("%s This is how it was after %v.", detail, meetLimit), false
		case <-time.After(auditPause):
		}
	}
}

// compare says how the numbers of now differ.
func (d *demo) compare(ctx context.Context) (outcome, detail string, good bool) {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	posts, sent := d.producer.Ledger.Posts()
	counts, counted := d.feed.Values()
	inSQL := d.sql.Total()
	sums := fmt.Sprintf("Sent %s − counted %s = %s, in SQL %s", thousands(sent), thousands(counted), thousands(sent-counted), thousands(inSQL))
	waiting, trouble := d.producer.Waiting()
	switch {
	case waiting > 0:
		return "Not all is sent", fmt.Sprintf("%s likes wait for the broker (%v).", thousands(int64(waiting)), trouble), false
	case counted != sent:
		return missing(sent-counted, "in Quipu"), sums + ".", false
	case inSQL != sent:
		return missing(sent-inSQL, "in SQL"), sums + ".", false
	}
	topic, err := d.producer.InTopic(ctx)
	if err != nil {
		return "The broker does not answer", err.Error(), false
	}
	stored, err := d.sql.Posts(ctx)
	if err != nil {
		return "The database cannot be read", err.Error(), false
	}
	differ := 0
	for rank := 1; rank <= produce.Posts; rank++ {
		id := produce.Post(rank)[1:]
		if counts[id] != posts[rank] || stored[id] != posts[rank] {
			differ++
		}
	}
	switch {
	case topic != sent:
		return missing(sent-topic, "in the topic"), fmt.Sprintf("The topic has %s, sent were %s.", thousands(topic), thousands(sent)), false
	case differ > 0:
		return fmt.Sprintf("%d posts differ", differ), sums + ".", false
	}
	return "Lost: nothing", fmt.Sprintf("%s. Each of %s posts has the same number in all three places.", sums, thousands(produce.Posts)), true
}

// missing says what a difference means.
func missing(n int64, where string) string {
	if n < 0 {
		return fmt.Sprintf("%s too many %s", thousands(-n), where)
	}
	return fmt.Sprintf("%s missing %s", thousands(n), where)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
