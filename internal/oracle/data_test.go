package oracle

import (
	"fmt"
	"slices"
	"strconv"

	"quipu/internal/redistest"
)

// databases is how many databases the servers have.
const databases = 16

// compareData compares all that the servers hold at the end of a sequence.
func (p *player) compareData(i int) (same bool, err error) {
	var dumps [2][]string
	for side := range dumps {
		if _, err := p.ask(side, "PING"); err != nil { // opens the connection where it was closed
			return true, err
		}
		if dumps[side], err = dump(p.control[side], p.losesCounts()); err != nil {
			return true, fmt.Errorf("reading the data of %s: %w", sideNames[side], err)
		}
	}
	for k := range max(len(dumps[redis]), len(dumps[quipu])) {
		x := &exchange{step: i, note: "# the data at the end"}
		for side := range dumps {
			if k < len(dumps[side]) {
				x.replies[side] = dumps[side][k]
			}
		}
		if x.replies[redis] != x.replies[quipu] {
			x.differs = true
			p.log = append(p.log, x)
			return false, nil
		}
	}
	return true, nil
}

// dump is every key with its value and deadline, as replies, in order, with or without what cached counts may be.
func dump(c *redistest.Conn, withoutCounts bool) ([]string, error) {
	var ask [][]string
	for db := range databases {
		ask = append(ask, []string{"SELECT", strconv.Itoa(db)}, []string{"KEYS", "*"})
	}
	replies, err := c.Pipeline(ask...)
	if err != nil {
		return nil, err
	}
	ask = ask[:0]
	for db := range databases {
		var keys []string
		for _, key := range replies[2*db+1].Elems {
			keys = append(keys, key.Text)
		}
		slices.Sort(keys)
		ask = append(ask, []string{"SELECT", strconv.Itoa(db)})
		for _, key := range keys {
			ask = append(ask, []string{"ECHO", key}, []string{"GET", key}, []string{"PEXPIRETIME", key}, []string{"OBJECT", "ENCODING", key})
		}
	}
	ask = append(ask, []string{"SELECT", "0"})
	if replies, err = c.Pipeline(ask...); err != nil {
		return nil, err
	}
	var lines []string
	for k, r := range replies {
		if withoutCounts && ask[k][0] == "GET" {
			r.Text = maskedCount(r.Text)
		}
		if ask[k][0] != "SELECT" {
			lines = append(lines, fmt.Sprintf("%.200q -> %.200q", ask[k], r.Encode(nil)))
		}
	}
	return lines, nil
}
