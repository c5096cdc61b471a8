package admin

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Status is a cluster as one node sees it.
type Status struct {
	Cluster, Incarnation string
	Answers              string // ID of the node that has answered
	LeaderID             string // empty: no node leads, as far as that one knows
	Term, Level, Wanted  int64  // Wanted: how many voters the cluster is to have
	Members              []Member
}

// Member is one node.
type Member struct {
	ID, Peer, Client, Role, State, Disk string
	Term, Synced, Applied, Lag          int64 // Lag: entries that its log has less than the longest
	Checksum                            string
	Checked                             int64 // the entry behind which the node took Checksum; 0: none
	Boot, Level, Clock, Seen            int64 // Clock: of its clock from that of the node that answers, ms. Seen: when, ms ago
}

// readStatus reads the reply of CLUSTER STATUS.
func readStatus(reply any) (*Status, error) {
	fields, ok := reply.(map[any]any)
	if !ok {
		return nil, fmt.Errorf("CLUSTER STATUS answers %T: is that a Quipu server of this version?", reply)
	}
	st := &Status{
		Cluster: text(fields, "cluster"), Incarnation: text(fields, "incarnation"), Answers: text(fields, "answers"), LeaderID: text(fields, "leader"),
		Term: number(fields, "term"), Level: number(fields, "level"), Wanted: number(fields, "wanted-voters"),
	}
	list, _ := fields["members"].([]any)
	for _, one := range list {
		m, _ := one.(map[any]any)
		st.Members = append(st.Members, Member{
			ID: text(m, "id"), Peer: text(m, "peer-address"), Client: text(m, "client-address"), Role: text(m, "role"), State: text(m, "state"),
			Disk: text(m, "disk"), Term: number(m, "term"), Synced: number(m, "synced"), Applied: number(m, "applied"), Lag: number(m, "lag"),
			Boot: number(m, "boot"), Level: number(m, "level"), Clock: number(m, "clock-ms"), Seen: number(m, "seen-ms"),
			Checksum: text(m, "checksum"), Checked: number(m, "checked"),
		})
	}
	if len(st.Members) == 0 {
		return nil, fmt.Errorf("CLUSTER STATUS names no members")
	}
	slices.SortFunc(st.Members, func(a, b Member) int { return cmp.Compare(a.Peer, b.Peer) })
	return st, nil
}

func text(m map[any]any, name string) string  { s, _ := m[name].(string); return s }
func number(m map[any]any, name string) int64 { n, _ := m[name].(int64); return n }

// Leader is the member that leads; nil: none, or it is not known where its clients reach it.
func (st *Status) Leader() *Member {
	for i := range st.Members {
		if m := &st.Members[i]; m.ID == st.LeaderID && m.Client != "" {
			return m
		}
	}
	return nil
}

// Voters counts the voters, and those of them that are up.
func (st *Status) Voters() (all, up int64) {
	for _, m := range st.Members {
		if m.Role != "non-voter" {
			all++
			if m.State != "down" {
				up++
			}
		}
	}
	return all, up
}

// Health is what a script wants to know.
type Health int

// Healths, as exit statuses.
const (
	Healthy  Health = iota
	Degraded        // it serves, and would not survive what it should, or is about to refuse writes
	NoQuorum        // it serves no writes
)

// lagging is how many entries a member may lack and count as healthy: what is under way, and not what waits.
const lagging = 1000

// skewed is how far a clock may be off, in ms.
const skewed = 500

// Health judges the cluster; the reasons say what is wrong.
func (st *Status) Health() (h Health, reasons []string) {
	wrong := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	all, up := st.Voters()
	if st.LeaderID == "" || up*2 <= all {
		wrong("%d of %d voters answer, no node leads", up, all)
		return NoQuorum, reasons
	}
	if all < st.Wanted {
		wrong("%d voters, %d are wanted", all, st.Wanted)
	}
	if all > 1 && all%2 == 0 {
		wrong("an even number of voters survives no more failures than one less")
	}
	for _, m := range st.Members {
		if o := st.Members[0]; m.Checked == o.Checked && m.Checksum != o.Checksum {
			wrong("the counts of nodes %s and %s differ at entry %d", short(o.ID), short(m.ID), m.Checked)
		}
		switch {
		case m.State != "up":
			wrong("node %s at %s is %s", short(m.ID), m.Peer, m.State)
		case m.Disk != "ok":
			wrong("the disk of node %s is full", short(m.ID))
		case m.Lag > lagging:
			wrong("node %s lacks %d entries", short(m.ID), m.Lag)
		case m.Level < st.Level:
			wrong("node %s knows semantics level %d, the cluster is at %d", short(m.ID), m.Level, st.Level)
		case m.Clock > skewed || m.Clock < -skewed:
			wrong("the clock of node %s is off by %d ms", short(m.ID), m.Clock)
		}
	}
	if len(reasons) > 0 {
		return Degraded, reasons
	}
	return Healthy, nil
}

// checksum is a member's, and of which entry.
func checksum(m *Member) string {
	if m.Checked == 0 {
		return "-"
	}
	return fmt.Sprintf("%s at %d", short(m.Checksum), m.Checked)
}

// short is as much of an ID as tells nodes apart.
func short(id string) string { return id[:min(len(id), 8)] }

// Print writes the status as a table.
func (st *Status) Print(w io.Writer) Health {
	h, reasons := st.Health()
	all, up := st.Voters()
	fmt.Fprintf(w, "cluster %s, incarnation %s, term %d, semantics level %d\n", st.Cluster, short(st.Incarnation), st.Term, st.Level)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tPEER ADDRESS\tCLIENTS\tROLE\tSTATE\tTERM\tSYNCED\tAPPLIED\tLAG\tDISK\tBOOT\tLEVEL\tCLOCK\tCHECKSUM")
	for _, m := range st.Members {
		state := m.State
		if state == "down" && m.Seen >= 0 {
			state = fmt.Sprintf("down for %d s", m.Seen/1000)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%+d ms\t%s\n", short(m.ID), m.Peer, m.Client, m.Role, state,
			m.Term, m.Synced, m.Applied, m.Lag, m.Disk, m.Boot, m.Level, m.Clock, checksum(&m))
	}
	t.Flush()
	fmt.Fprintf(w, "%s: %d of %d voters are up\n", [...]string{"healthy", "degraded", "no quorum"}[h], up, all)
	for _, r := range reasons {
		fmt.Fprintf(w, "  %s\n", r)
	}
	return h
}
