package app

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/quipu"
)

// row is a partition as status shows it.
type row struct {
	name, owner, position, state, reason, identity string
	place, done, end                               int64
	rate                                           float64
	aside                                          int // records that are set aside
}

const statusTime = time.Second // between two tables

func (p *Program) status(ctx context.Context, args []string) error {
	once := false
	words, err := p.parse(args, 1, 1, func(f *flag.FlagSet) { f.BoolVar(&once, "once", false, "") })
	if err != nil {
		return err
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return err
	}
	client, err := p.dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	out, onTerminal := p.Out.(*os.File)
	live := !once && onTerminal && term.IsTerminal(int(out.Fd()))
	for {
		rows, err := p.rows(ctx, cfg, client)
		if err != nil {
			return err
		}
		if live {
			fmt.Fprint(p.Out, "\x1b[H\x1b[2J")
		}
		sinks, err := p.sinkRows(ctx, cfg, client)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			p.table(rows)
		}
		if len(sinks) > 0 {
			p.sinkTable(sinks)
		}
		if !live {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusTime):
		}
	}
}

// rows asks Quipu and the brokers.
func (p *Program) rows(ctx context.Context, cfg *config.Config, client *quipu.Client) ([]row, error) {
	var all []row
	for _, src := range cfg.Sources {
		job, err := p.job(src, client, nil, p.logger())
		if err != nil {
			return nil, err
		}
		stored, err := storedOf(ctx, client, src.Name)
		if err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		seen, err := p.Kinds[src.Kind].Look(limited, job, stored)
		cancel()
		if err != nil { // what Quipu knows is shown all the same
			all = append(all, row{name: src.Name, state: string(count.NoBroker), reason: err.Error()})
			for _, name := range partitionsOf(stored) {
				seen = append(seen, count.Seen{Name: name, Incarnation: stored[name].Incarnation})
			}
		}
		for _, s := range seen {
			r, err := p.row(ctx, job, stored, s)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// storedOf is what Quipu stores of a source: of itself, and of its partitions.
func storedOf(ctx context.Context, client *quipu.Client, source string) (map[string]quipu.Stored, error) {
	stored := map[string]quipu.Stored{}
	list, err := client.List(ctx, source+"*", nil)
	for _, s := range list {
		if name, _, _ := strings.Cut(s.Name, "/"); name == source {
			stored[s.Name] = s
		}
	}
	return stored, err
}

func partitionsOf(stored map[string]quipu.Stored) (names []string) {
	for name := range stored {
		if strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *Program) row(ctx context.Context, job *count.Job, stored map[string]quipu.Stored, s count.Seen) (row, error) {
	r := row{name: s.Name, position: "-", identity: "-", owner: "-", state: "no-connector", end: s.End}
	at, found := stored[s.Name]
	if found {
		kind := p.Kinds[job.Source.Kind]
		position, err := count.ParsePosition(at.Position, kind.Start)
		if err != nil {
			return r, err
		}
		r.position = position.At
		r.place = kind.Place(&position)
		r.identity = identity(&position, r.place)
		r.done = kind.Done(&position)
		if at.Incarnation != s.Incarnation {
			r.state = string(count.NewIncarnation)
		}
	}
	reply, err := job.Quipu.Do(ctx, "GET", tellKey(s.Name))
	if err != nil {
		return r, err
	}
	if text, ok := reply.(string); ok {
		var t told
		if json.Unmarshal([]byte(text), &t) == nil {
			r.owner, r.rate = t.Owner, t.Rate
			if r.state != string(count.NewIncarnation) || t.State != string(count.Counting) { // which was before
				r.state, r.reason = t.State, t.Reason
			}
			r.done, r.end = max(t.Done, r.done), max(t.End, r.end)
		}
	}
	if job.Source.Park != "" {
		lines, err := job.Quipu.Do(ctx, "GET", count.ParkKey(job.Source.Park, s.Name))
		if err != nil {
			return r, err
		}
		text, _ := lines.(string)
		r.aside = strings.Count(text, "\n")
	}
	return r, nil
}

// identity says what became of the records, and whether it adds up.
func identity(p *count.Position, place int64) string {
	text := fmt.Sprintf("%d counted", p.Counted)
	for _, o := range []struct {
		n    int64
		name string
	}{
		{p.Filtered, "filtered"}, {p.Parked, "parked"}, {p.Refused, "refused"}, {p.Markers, "markers"},
		{p.Invisible, "invisible"}, {p.Lost, "lost"},
	} {
		if o.n != 0 {
			text += fmt.Sprintf(" + %d %s", o.n, o.name)
		}
	}
	if off := p.Off(place); off != 0 {
		return fmt.Sprintf("%s: OFF BY %d", text, off)
	}
	return text + " = all"
}

func (p *Program) table(rows []row) {
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tOWNER\tPOSITION\tEND\tLAG\tRATE/S\tIDENTITY\tASIDE\tSTATE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%.0f\t%s\t%d\t%s\n", r.name, r.owner, r.position, r.end, max(0, r.end-r.done), r.rate, r.identity, r.aside, r.state)
	}
	_ = w.Flush()
	for _, r := range rows {
		if r.reason != "" {
			fmt.Fprintf(p.Out, "%s: %s\n", r.name, r.reason)
		}
	}
}
