package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quipu/connect/config"
	"quipu/connect/quipu"
	"quipu/connect/sink"
	"quipu/connect/target"
)

// newSinks are the sinks of a configuration, each with a client of its own.
func (r *running) newSinks(cfg *config.Config) ([]*sink.Sink, error) {
	var list []*sink.Sink
	for _, c := range cfg.Sinks {
		client, err := newClient(cfg)
		if err != nil {
			return nil, err
		}
		list = append(list, sink.New(c, client, sink.NewReport(c.Name, r.log, r.metrics.wrote)))
	}
	return list, nil
}

// publishSink tells of a sink. One that this process does not own is told of only if nobody else tells.
func (r *running) publishSink(ctx context.Context, client *quipu.Client, owner string, s sink.Snapshot, last map[string]int64) {
	key := tellSinkKey(s.Name)
	before := last[key]
	last[key] = s.Rows
	if s.State == sink.Standby || s.State == "" {
		return
	}
	t := told{Owner: owner, State: string(s.State), Reason: s.Reason, Rate: float64(s.Rows-before) / tellTime.Seconds()}
	if s.Owned {
		t.Cursor, t.Done, t.Stamp = s.Watermark.Cursor, s.Watermark.Index, s.Watermark.Stamp
		tell(ctx, client, key, &t)
		return
	}
	t.Owner = ""
	tell(ctx, client, key, &t, "NX")
}

// sinkRow is a sink as status shows it.
type sinkRow struct {
	name, owner, state, reason string
	index                      int64
	rate                       float64
	behind                     string // rows
	seconds                    float64
}

const (
	lookLimit  = 5 * time.Second
	noSink     = "no-connector"
	mostBehind = quipu.FeedMost // rows that status counts
)

// sinkRows asks the databases, and Quipu for what they have not.
func (p *Program) sinkRows(ctx context.Context, cfg *config.Config, client *quipu.Client) ([]sinkRow, error) {
	var all []sinkRow
	for _, c := range cfg.Sinks {
		r := sinkRow{name: c.Name, owner: "-", state: noSink, behind: "-"}
		reply, err := client.Do(ctx, "GET", tellSinkKey(c.Name))
		if err != nil {
			return nil, err
		}
		var t told
		if text, ok := reply.(string); ok && json.Unmarshal([]byte(text), &t) == nil {
			r.state, r.reason, r.rate = t.State, t.Reason, t.Rate
			if t.Owner != "" {
				r.owner = t.Owner
			}
		}
		at, err := lookAt(ctx, c)
		if err != nil {
			at = target.Watermark{Cursor: t.Cursor, Index: t.Done, Stamp: t.Stamp, Pattern: c.Match} // as its owner tells
			if r.reason == "" {
				r.reason = "the database cannot be looked at from here: " + err.Error()
			}
		}
		if at.Stopped != "" {
			r.state, r.reason = string(sink.Ahead), at.Stopped
		}
		r.index = at.Index
		if err := r.measure(ctx, client, c, &at); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// lookAt reads the watermark of a sink; it is zero where the sink has never run.
func lookAt(ctx context.Context, c *config.Sink) (w target.Watermark, err error) {
	url, err := c.URL()
	if err != nil {
		return w, err
	}
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	db, err := target.OpenToLook(limited, url, c.Name)
	if err != nil {
		return w, err
	}
	defer db.Close()
	w, _, err = db.Watermark(limited)
	return w, err
}

// measure finds out how much is not written yet, by reading it.
func (r *sinkRow) measure(ctx context.Context, client *quipu.Client, c *config.Sink, at *target.Watermark) error {
	if at.Cursor == "" || at.Pattern != c.Match {
		r.behind = "all"
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	page, err := client.Feed(limited, quipu.Cursor(at.Cursor), c.Match, mostBehind, 0, nil)
	var info quipu.FeedInfo
	if err == nil {
		info, err = client.FeedInfo(limited, quipu.Cursor(at.Cursor))
	}
	switch {
	case errors.Is(err, quipu.ErrGap):
		r.behind = "all"
		return nil
	case errors.Is(err, quipu.ErrIncarnation):
		r.behind, r.state = "all", string(sink.NewIncarnation)
		return nil
	case err != nil:
		return err
	}
	r.seconds = max(0, float64(info.Stamp-at.Stamp)/1000)
	if page.More {
		r.behind = "≤ " + strconv.FormatInt(info.Behind, 10) // of all keys, whether they match or not
		return nil
	}
	n := 0
	for i := range page.Rows {
		if !sink.LeftOut(c.Match, page.Rows[i].Key) {
			n++
		}
	}
	if r.behind = strconv.Itoa(n); n == 0 {
		r.seconds = 0 // what has happened since was about other keys: the database is as Quipu is
	}
	return nil
}

func (p *Program) sinkTable(rows []sinkRow) {
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SINK\tOWNER\tINDEX\tROWS BEHIND\tSECONDS BEHIND\tROWS/S\tSTATE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%.1f\t%.0f\t%s\n", r.name, r.owner, r.index, r.behind, r.seconds, r.rate, r.state)
	}
	_ = w.Flush()
	for _, r := range rows {
		if r.reason != "" {
			fmt.Fprintf(p.Out, "%s: %s\n", r.name, r.reason)
		}
	}
}

// adopt has a sink begin anew with the data that Quipu has now. A connector that runs notices.
func (p *Program) adopt(ctx context.Context, args []string) error {
	words, err := p.parse(args, 2, 2, nil)
	if err != nil {
		return err
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return err
	}
	for _, c := range cfg.Sinks {
		if c.Name != words[1] {
			continue
		}
		url, err := c.URL()
		if err != nil {
			return err
		}
		db, err := target.Open(ctx, url, c.Name)
		if err != nil {
			return err
		}
		defer db.Close()
		if err := db.Adopt(ctx); err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s: begins anew; rows stay as they are until all keys have been read\n", c.Name)
		return nil
	}
	return fmt.Errorf("%s has no sink %q", cfg.File, words[1])
}

var (
	sinkLabels     = []string{"sink"}
	descSinkState  = prometheus.NewDesc("quipu_connect_sink_state", "1 for the state that the sink is in.", []string{"sink", "state"}, nil)
	descSinkIndex  = prometheus.NewDesc("quipu_connect_sink_index", "Index of the log up to which the database has everything.", sinkLabels, nil)
	descSinkBehind = prometheus.NewDesc("quipu_connect_sink_seconds_behind", "Time since the database had everything that Quipu had.", sinkLabels, nil)
	descSinkRows   = prometheus.NewDesc("quipu_connect_sink_rows_total", "Rows written by this process.", sinkLabels, nil)
	descSinkTxns   = prometheus.NewDesc("quipu_connect_sink_transactions_total", "Transactions committed by this process.", sinkLabels, nil)
	descSinkOwned  = prometheus.NewDesc("quipu_connect_sink_owned", "1 if this process writes the sink, 0 if another one does.", sinkLabels, nil)
)

func collectSink(ch chan<- prometheus.Metric, s sink.Snapshot) {
	one := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, s.Name)
	}
	if s.State != "" {
		ch <- prometheus.MustNewConstMetric(descSinkState, prometheus.GaugeValue, 1, s.Name, string(s.State))
	}
	one(descSinkRows, prometheus.CounterValue, float64(s.Rows))
	one(descSinkTxns, prometheus.CounterValue, float64(s.Transactions))
	if !s.Owned {
		one(descSinkOwned, prometheus.GaugeValue, 0)
		return
	}
	one(descSinkOwned, prometheus.GaugeValue, 1)
	one(descSinkIndex, prometheus.GaugeValue, float64(s.Watermark.Index))
	if !s.CaughtUp.IsZero() {
		one(descSinkBehind, prometheus.GaugeValue, time.Since(s.CaughtUp).Seconds())
	}
}
