package console

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Sources and sinks: INGEST LIST has the positions of sources. How far each is behind, quipu-connect says itself, in a key that expires
// (connect:SOURCE/N, connect:sink:NAME). Nobody has a list of sinks, so their keys are looked for among all keys, a stretch each second.

const (
	toldPrefix  = "connect:"
	sinkPrefix  = "connect:sink:"
	listEvery   = 5 * time.Second // a list may have 100,000 sources
	mostSources = 64              // that are shown
	mostSinks   = 16
	scanCount   = "10000" // keys that are looked at each second: about a millisecond, 64 under a lock at a time
)

// events is what is known of sources and sinks.
type events struct {
	listed  time.Time
	sources []source
	count   int    // sources that there are
	cursor  string // of the scan for sinks
	rounds  int    // how often it has been through all keys
	sinks   []string
}

func newEvents() events { return events{cursor: "0"} }

// source is a row of the panel. Lag is null where no connector says how far the source goes.
type source struct {
	Name     string `json:"name"`
	Position string `json:"position"`
	*told
	Lag *int64 `json:"lag"`

	key string
}

// sink is a row of the panel. Behind is the number of rows of the feed that it has not written, at most.
type sink struct {
	Name string `json:"name"`
	*told
	Behind *int64 `json:"behind"`
}

// told is what quipu-connect says.
type told struct {
	Owner  string  `json:"owner"`
	State  string  `json:"state"`
	Reason string  `json:"reason"`
	Done   int64   `json:"done"`
	End    int64   `json:"end"`
	Rate   float64 `json:"rate"`
	Cursor string  `json:"cursor,omitempty"`
}

// toldBy reads what a key has; nil: nobody says anything.
func toldBy(r *reply) *told {
	var t told
	if r.Null || r.Err != "" || json.Unmarshal(r.Text, &t) != nil {
		return nil
	}
	for _, text := range []*string{&t.Owner, &t.State, &t.Reason} {
		*text = printable(clip([]byte(*text)))
	}
	return &t
}

// look has the panels of sources and of sinks.
func (e *events) look(ctx context.Context, v *view, c *client) (sources, sinks panel, err error) {
	asked := newRound(v)
	list := -1
	if time.Since(e.listed) > listEvery {
		list = asked.panel("sources", "INGEST", "LIST")
		e.listed = time.Now()
	}
	scan := asked.panel("sinks", "SCAN", e.cursor, "MATCH", sinkPrefix+"*", "COUNT", scanCount)
	if err = asked.send(ctx, c); err != nil {
		return panel{}, panel{}, err
	}
	if list >= 0 && asked.refusal(list) == "" {
		e.readSources(asked.reply(list))
	}
	if asked.refusal(scan) == "" {
		e.readScan(asked.reply(scan))
	}
	if sources.Error = v.refused["sources"].text; sources.Error == "" {
		if sources, err = e.sourcePanel(ctx, v, c); err != nil {
			return panel{}, panel{}, err
		}
	}
	if sinks.Error = v.refused["sinks"].text; sinks.Error == "" {
		sinks, err = e.sinkPanel(ctx, v, c)
	}
	return sources, sinks, err
}

func (e *events) readSources(r *reply) {
	e.count = r.Count
	e.sources = nil
	for _, row := range r.Elems[:min(len(r.Elems), mostSources)] {
		if len(row.Elems) == 3 {
			name := row.Elems[0].Text
			e.sources = append(e.sources, source{Name: printable(name), Position: printable(row.Elems[2].Text), key: toldPrefix + string(name)})
		}
	}
}

// readScan takes the keys of sinks that a stretch of the keyspace has.
func (e *events) readScan(r *reply) {
	if len(r.Elems) != 2 {
		return
	}
	if e.cursor = string(r.Elems[0].Text); e.cursor == "0" {
		e.rounds++
	}
	for _, key := range r.Elems[1].Elems {
		if name := string(bytes.TrimPrefix(key.Text, []byte(sinkPrefix))); len(e.sinks) < mostSinks && !slices.Contains(e.sinks, name) {
			e.sinks = append(e.sinks, name)
		}
	}
	slices.Sort(e.sinks)
}

// sourcePanel has the sources, and what their connectors say of them.
func (e *events) sourcePanel(ctx context.Context, v *view, c *client) (panel, error) {
	rows := slices.Clone(e.sources)
	replies, refused, err := e.get(ctx, v, c, func(add func(key string)) {
		for i := range rows {
			add(rows[i].key)
		}
	})
	for i := range replies {
		if t := toldBy(&replies[i]); t != nil {
			lag := max(0, t.End-t.Done)
			rows[i].told, rows[i].Lag = t, &lag
		}
	}
	return panel{Data: struct {
		Rows    []source `json:"rows"`
		Count   int      `json:"count"`
		Refused string   `json:"refused,omitempty"`
	}{append([]source{}, rows...), e.count, refused}}, err
}

// sinkPanel has the sinks that were found, and how far each is behind the feed.
func (e *events) sinkPanel(ctx context.Context, v *view, c *client) (panel, error) {
	replies, refused, err := e.get(ctx, v, c, func(add func(key string)) {
		for _, name := range e.sinks {
			add(sinkPrefix + name)
		}
	})
	rows := []sink{}
	asked := newRound(v)
	var left []string
	for i := range replies {
		if t := toldBy(&replies[i]); t != nil {
			rows = append(rows, sink{Name: printable([]byte(e.sinks[i])), told: t})
			left = append(left, e.sinks[i])
			asked.panel("feed", "FEED", "INFO", t.Cursor)
		}
	}
	if refused == "" {
		e.sinks = left // those of the others have expired, and are found again if they come back
	}
	if err == nil {
		err = asked.send(ctx, c)
	}
	for i := range rows {
		if err == nil && asked.reply(i).Err == "" {
			rows[i].Behind = numberIn(asked.reply(i), "behind")
		}
	}
	return panel{Data: struct {
		Rows     []sink `json:"rows"`
		Searched bool   `json:"searched"` // whether all keys were looked at
		Refused  string `json:"refused,omitempty"`
	}{rows, e.rounds > 0, refused}}, err
}

// get reads keys; refused is why it may not. Then it does not try again for a while.
func (e *events) get(ctx context.Context, v *view, c *client, each func(add func(key string))) (list []reply, refused string, err error) {
	const name = "told"
	asked := newRound(v)
	each(func(key string) { asked.panel(name, "GET", key) })
	if err := asked.send(ctx, c); err != nil {
		return nil, "", err
	}
	return asked.replies, v.refused[name].text, nil
}

// numberIn is a field of a flat map, or nil.
func numberIn(r *reply, name string) *int64 {
	for i := 0; i+1 < len(r.Elems); i += 2 {
		if string(r.Elems[i].Text) == name {
			if n, err := strconv.ParseInt(string(r.Elems[i+1].Text), 10, 64); err == nil {
				return &n
			}
		}
	}
	return nil
}
