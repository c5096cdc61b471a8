package console

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Keys by prefix: one request looks at about ten thousand keys, and shows about fifty, of each value so many bytes. It goes on where the last
// one ended. Each command reads a few bytes, or a figure: GETRANGE, PFCOUNT, CMS.INFO.

const (
	keysShown   = 50  // more where many are found at once
	keysScans   = 20  // SCANs of a request
	keysCount   = 512 // keys that each of these looks at
	valueBytes  = 200
	prefixBytes = 256
	topShown    = 5   // items of a Top-K
	topMost     = 100 // that it has, else they are not asked for
	hllMagic    = "HYLL"
)

// keysAsked is a request for a page of keys.
type keysAsked struct {
	db     int
	prefix string
	cursor string
}

func parseKeys(q url.Values) (ask keysAsked, text string) {
	ask = keysAsked{prefix: q.Get("prefix"), cursor: "0"}
	var err error
	if db := q.Get("db"); db != "" {
		if ask.db, err = strconv.Atoi(db); err != nil || ask.db < 0 {
			return ask, "db is a number"
		}
	}
	if cursor := q.Get("cursor"); cursor != "" {
		if _, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return ask, "cursor is one that the console has given"
		}
		ask.cursor = cursor
	}
	if len(ask.prefix) > prefixBytes {
		return ask, fmt.Sprintf("a prefix has at most %d bytes", prefixBytes)
	}
	return ask, ""
}

// keyRow is a key as the page shows it.
type keyRow struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value string `json:"value"`
	TTL   *int64 `json:"ttl"` // ms; -1: none; null: it may not be known
	Cut   int64  `json:"cut"` // bytes of the value that are not shown

	name string
	more []string // a command that says more of it
}

// keyPage is a page of keys. Cursor is 0 at the end.
type keyPage struct {
	Rows   []keyRow `json:"rows"`
	Cursor string   `json:"cursor"`
	Looked int      `json:"looked"` // keys that were looked at, about
	Error  string   `json:"error,omitempty"`
}

// globbed is a pattern for keys that begin with a prefix.
func globbed(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(prefix) + "*"
}

// browse makes a page of keys.
func browse(ctx context.Context, c *client, ask *keysAsked) ([]byte, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	page := keyPage{Rows: []keyRow{}, Cursor: ask.cursor}
	replies, err := c.do(ctx, []string{"SELECT", strconv.Itoa(ask.db)})
	if err == nil && replies[0].Err != "" {
		page.Error = replies[0].Err
		return encode(&page), nil
	}
	if err == nil {
		err = page.scan(ctx, c, globbed(ask.prefix))
	}
	if err == nil {
		err = page.read(ctx, c)
	}
	if err == nil {
		_, err = c.do(ctx, []string{"SELECT", "0"}) // as samples expect
	}
	return encode(&page), err
}

// scan finds keys, until there are enough or enough were looked at.
func (p *keyPage) scan(ctx context.Context, c *client, pattern string) error {
	for range keysScans {
		replies, err := c.do(ctx, []string{"SCAN", p.Cursor, "MATCH", pattern, "COUNT", strconv.Itoa(p.step())})
		if err != nil {
			return err
		}
		r := &replies[0]
		if r.Err != "" || len(r.Elems) != 2 {
			p.Error = r.Err
			return nil
		}
		p.Looked += p.step()
		p.Cursor = string(r.Elems[0].Text)
		for _, key := range r.Elems[1].Elems {
			p.Rows = append(p.Rows, keyRow{Key: printable(clip(key.Text)), name: string(key.Text)})
		}
		if p.Cursor == "0" || len(p.Rows) >= keysShown {
			return nil
		}
	}
	return nil
}

// step is how many keys the next SCAN looks at: no more than may be shown, unless hardly any match.
func (p *keyPage) step() int {
	if p.Looked == 0 || len(p.Rows)*8 > p.Looked {
		return keysShown
	}
	return keysCount
}

// read reads types, deadlines and values.
func (p *keyPage) read(ctx context.Context, c *client) error {
	if len(p.Rows) == 0 {
		return nil
	}
	var asked [][]string
	for i := range p.Rows {
		asked = append(asked, []string{"TYPE", p.Rows[i].name}, []string{"PTTL", p.Rows[i].name})
	}
	replies, err := c.do(ctx, asked...)
	if err != nil {
		return err
	}
	there := p.Rows[:0]
	for i, row := range p.Rows {
		kind, ttl := &replies[2*i], &replies[2*i+1]
		if ms := ttl.int(); ttl.Err == "" {
			row.TTL = &ms
		}
		if kind.Err != "" {
			row.Value = kind.Err
		} else if row.Type = string(kind.Text); row.Type == "none" {
			continue // it is gone
		}
		there = append(there, row)
	}
	p.Rows = there
	return p.values(ctx, c)
}

// values reads the values of the rows, each by the command of its type.
func (p *keyPage) values(ctx context.Context, c *client) error {
	var asked [][]string
	var first []int // of each row's commands
	for i := range p.Rows {
		first = append(first, len(asked))
		key := p.Rows[i].name
		switch strings.ToLower(p.Rows[i].Type) {
		case "string":
			asked = append(asked, []string{"GETRANGE", key, "0", strconv.Itoa(valueBytes - 1)}, []string{"STRLEN", key})
		case "uc":
			asked = append(asked, []string{"UC.COUNT", key})
		case "cmsk-type":
			asked = append(asked, []string{"CMS.INFO", key})
		case "topk-type":
			asked = append(asked, []string{"TOPK.INFO", key})
		}
	}
	if len(asked) == 0 {
		return nil
	}
	replies, err := c.do(ctx, asked...)
	if err != nil {
		return err
	}
	for i, begin := range first {
		end := len(replies)
		if i+1 < len(first) {
			end = first[i+1]
		}
		if begin < end {
			p.Rows[i].show(replies[begin:end])
		}
	}
	return p.more(ctx, c)
}

// show fills in a row's value.
func (row *keyRow) show(replies []reply) {
	r := &replies[0]
	switch kind := strings.ToLower(row.Type); {
	case r.Err != "":
		row.Value = r.Err
	case kind == "string":
		row.Value = printable(r.Text)
		row.Cut = max(0, replies[1].int()-int64(len(r.Text)))
		if strings.HasPrefix(string(r.Text), hllMagic) {
			row.more = []string{"PFCOUNT", row.name}
		}
	case kind == "uc":
		row.Value = "≈ " + string(r.Text)
	case kind == "cmsk-type":
		if n := numberIn(r, "count"); n != nil {
			row.Value = fmt.Sprintf("%d counted", *n)
		}
	default:
		k := numberIn(r, "k")
		if k == nil {
			return
		}
		if row.Value = fmt.Sprintf("%d items", *k); *k <= topMost {
			row.more = []string{"TOPK.LIST", row.name, "WITHCOUNT"}
		}
	}
}

// more asks for what is known of sketches only by their first bytes or figures.
func (p *keyPage) more(ctx context.Context, c *client) error {
	var rows []*keyRow
	var asked [][]string
	for i := range p.Rows {
		if row := &p.Rows[i]; row.more != nil {
			rows, asked = append(rows, row), append(asked, row.more)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	replies, err := c.do(ctx, asked...)
	if err != nil {
		return err
	}
	for i, row := range rows {
		switch r := &replies[i]; {
		case r.Err != "": // a text may begin like a HyperLogLog and be none
		case row.Type == "string":
			row.Type, row.Value, row.Cut = "hyperloglog", "≈ "+string(r.Text), 0
		default:
			row.Value = topOf(r)
		}
	}
	return nil
}

// topOf is the beginning of a Top-K's list, which has items and counts in turn.
func topOf(r *reply) string {
	var items []string
	for pair := r.Elems; len(pair) > 1 && len(items) < topShown; pair = pair[2:] {
		items = append(items, printable(clip(pair[0].Text))+" "+string(pair[1].Text))
	}
	return strings.Join(items, ", ")
}

// clip is the beginning of what a client has named: that may be long.
func clip(b []byte) []byte { return b[:min(len(b), valueBytes)] }
