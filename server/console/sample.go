package console

import (
	"context"
	"strings"
	"sync"
	"time"
)

const (
	sampleEvery = 950 * time.Millisecond // so that browsers that ask once a second share samples
	keptPoints  = 300
	askAgain    = 30 * time.Second // what was refused

	hotKeysShown = "12"
)

// view is what the users of one name see: one sample for all their browsers.
type view struct {
	logins int // guarded by Console.mu

	mu     sync.Mutex // guards what follows; held for moments only
	made   time.Time
	text   []byte
	making chan struct{} // closed when the sample is there that is being made; nil: none is

	// Only who makes a sample uses these.
	points  []point
	before  totals
	refused map[string]refusal // by panel
	events  events
}

// refusal is why a panel has no figures, and from when on the node is asked again: each refusal is counted and noted there.
type refusal struct {
	text  string
	until time.Time
}

func newView() *view { return &view{refused: map[string]refusal{}, events: newEvents()} }

// sample is a sample that is at most a second old.
func (c *Console) sample(ctx context.Context, l *login) ([]byte, error) {
	v := l.view
	for {
		v.mu.Lock()
		making := v.making
		switch {
		case v.text != nil && time.Since(v.made) < sampleEvery:
			defer v.mu.Unlock()
			return v.text, nil
		case making == nil:
			making = make(chan struct{})
			v.making = making
			v.mu.Unlock()
			return c.makeSample(ctx, l, making)
		}
		v.mu.Unlock()
		select {
		case <-making:
			if l.client.ended() {
				return nil, errClosed
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Console) makeSample(ctx context.Context, l *login, done chan struct{}) ([]byte, error) {
	v := l.view
	text, err := c.look(ctx, l)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		v.text, v.made = text, time.Now()
	}
	v.making = nil
	close(done)
	return text, err
}

// sampled is a sample as the page gets it.
type sampled struct {
	At       int64   `json:"at"`    // ms since 1970
	User     string  `json:"user"`  // who looks
	Login    bool    `json:"login"` // whether the user has logged in
	Points   []point `json:"points"`
	Info     panel   `json:"info"`
	HotKeys  panel   `json:"hotkeys"`
	Sources  panel   `json:"sources"`
	Sinks    panel   `json:"sinks"`
	Warnings panel   `json:"warnings"`
}

// look takes a sample.
func (c *Console) look(ctx context.Context, l *login) ([]byte, error) {
	v := l.view
	if err := l.client.lock(ctx); err != nil {
		return nil, err
	}
	defer l.client.unlock()
	asked := newRound(v)
	info := asked.panel("info", "INFO", "default", "commandstats", "latencystats")
	times := asked.panel("times", "LATENCY", "HISTOGRAM")
	hot := asked.panel("hotkeys", "HOTKEYS", "COUNT", hotKeysShown)
	// The log of the node is for those who may see what was denied to others.
	log := asked.panel("warnings", "ACL", "LOG", "0")
	if err := asked.send(ctx, l.client); err != nil {
		return nil, err
	}
	now := time.Now()
	s := sampled{At: now.UnixMilli(), User: l.user, Login: !l.anybody}
	if s.Info.Error = asked.refusal(info); s.Info.Error == "" {
		fields := parseInfo(string(asked.reply(info).Text))
		s.Info.Data = fields
		v.addPoint(now, fields, asked.reply(times))
	}
	if s.Points = v.points; s.Info.Error != "" { // the user may have been allowed to see them once
		s.Points = []point{}
	}
	if s.HotKeys.Error = asked.refusal(hot); s.HotKeys.Error == "" {
		s.HotKeys.Data = hotKeys(asked.reply(hot))
	}
	if s.Warnings.Error = asked.refusal(log); s.Warnings.Error == "" {
		s.Warnings.Data = c.warnings.lines()
	}
	var err error
	s.Sources, s.Sinks, err = v.events.look(ctx, v, l.client)
	if err != nil {
		return nil, err
	}
	return encode(&s), nil
}

// round is commands that are sent together, each for a panel. A panel that was refused is not asked for again for a while.
type round struct {
	view     *view
	panels   []string
	commands [][]string
	replies  []reply
}

func newRound(v *view) *round { return &round{view: v} }

// panel adds a command, and returns its number.
func (r *round) panel(name string, words ...string) int {
	r.panels = append(r.panels, name)
	r.commands = append(r.commands, words)
	return len(r.panels) - 1
}

func (r *round) send(ctx context.Context, c *client) error {
	now := time.Now()
	var commands [][]string
	var asked []int
	for i, name := range r.panels {
		if now.After(r.view.refused[name].until) {
			delete(r.view.refused, name)
			commands, asked = append(commands, r.commands[i]), append(asked, i)
		}
	}
	r.replies = make([]reply, len(r.panels))
	if len(commands) == 0 {
		return nil
	}
	list, err := c.do(ctx, commands...)
	if err != nil {
		return err
	}
	for n, i := range asked {
		r.replies[i] = list[n]
		if text := list[n].Err; text != "" {
			until := now // a node that loads does not for long
			if strings.HasPrefix(text, "NOPERM") || strings.HasPrefix(text, "ERR unknown command") {
				until = now.Add(askAgain)
			}
			r.view.refused[r.panels[i]] = refusal{text, until}
		}
	}
	return nil
}

// refusal is why the panel of a command has no figures, or "".
func (r *round) refusal(i int) string { return r.view.refused[r.panels[i]].text }

func (r *round) reply(i int) *reply { return &r.replies[i] }

// parseInfo is the lines of INFO.
func parseInfo(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			fields[name] = value
		}
	}
	return fields
}

// hotKey is a row of HOTKEYS: a key, how often it was used, how many of these uses read and wrote, and its database.
type hotKey struct {
	Key        string `json:"key"`
	Operations int64  `json:"operations"`
	Reads      int64  `json:"reads"`
	Writes     int64  `json:"writes"`
	DB         int64  `json:"db"`
}

func hotKeys(r *reply) []hotKey {
	list := []hotKey{}
	for _, row := range r.Elems {
		if e := row.Elems; len(e) >= 5 {
			list = append(list, hotKey{printable(clip(e[0].Text)), e[1].int(), e[2].int(), e[3].int(), e[4].int()})
		}
	}
	return list
}
