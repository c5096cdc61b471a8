package oracle

import (
	"slices"
	"strings"

	"quipu/internal/redistest"
	"quipu/server"
)

// infoLines is an INFO reply as its section titles and its fields.
func infoLines(text string) (sections []string, fields map[string]string) {
	fields = map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			sections = append(sections, title)
		} else if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	return sections, fields
}

// sameInfo: the same sections, and the databases with as many keys and
// deadlines where no key can have died.
func sameInfo(c *compared) bool {
	if !sameType(c) {
		return false
	}
	titles, fields := infoLines(strings.TrimPrefix(c.replies[redis].Text, "txt:"))
	ours, our := infoLines(strings.TrimPrefix(c.replies[quipu].Text, "txt:"))
	if !slices.Equal(titles, ours) {
		return false
	}
	if c.deadKeys() || c.inExec || c.p.setup.local { // Quipu runs INFO before the transaction's writes, and without what is answered ahead
		return true
	}
	for name, value := range fields {
		if strings.HasPrefix(name, "db") {
			counts, _, _ := strings.Cut(value, ",avg_ttl")
			if have, _, _ := strings.Cut(our[name], ",avg_ttl"); have != counts {
				return false
			}
		}
	}
	return true
}

// pastDeadlines reports whether a command of the sequence may have stored a key that was dead from the beginning.
func (p *player) pastDeadlines() bool {
	for _, x := range p.log {
		for i, arg := range x.args {
			if at := strings.ToLower(arg); i > 2 && (at == "exat" || at == "pxat") {
				return true
			}
		}
	}
	return false
}

// sameHello: the same but for the version and the connection's number.
func sameHello(c *compared) bool {
	if !sameShape(c) {
		return false
	}
	a, b := c.replies[redis].Elems, c.replies[quipu].Elems
	for i := 0; i+1 < len(a); i += 2 {
		switch name := a[i].Text; {
		case name != b[i].Text:
			return false
		case name == "version":
		case name == "id":
			if a[i+1].Text != c.c.ids[redis] || b[i+1].Text != c.c.ids[quipu] {
				return false
			}
		case string(a[i+1].Encode(nil)) != string(b[i+1].Encode(nil)):
			return false
		}
	}
	return true
}

func sameClientID(c *compared) bool {
	return bothIntegers(c) && c.replies[redis].Text == c.c.ids[redis] && c.replies[quipu].Text == c.c.ids[quipu]
}

// clientLines is CLIENT LIST by the connections of the sequence.
func clientLines(c *compared, side int) map[int]map[string]string {
	lines := map[int]map[string]string{}
	text := strings.TrimPrefix(c.replies[side].Text, "txt:")
	for line := range strings.SplitSeq(text, "\n") {
		fields := map[string]string{}
		for field := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(field, "=")
			fields[name] = value
		}
		for i, other := range c.p.clients {
			if other != nil && fields["id"] == other.ids[side] && fields["addr"] == other.local[side] && fields["laddr"] == c.p.addrs[side] {
				lines[i] = fields
			}
		}
	}
	return lines
}

// sameClientList: the sequence's connections are there with the same state.
func sameClientList(c *compared) bool {
	if !sameType(c) {
		return false
	}
	theirs, ours := clientLines(c, redis), clientLines(c, quipu)
	if len(theirs) != len(ours) {
		return false
	}
	// What Quipu has not yet written or removed has not yet spoiled what others watch.
	early := c.inExec || c.p.setup.local || c.deadKeys()
	for i, fields := range theirs {
		for name, value := range fields {
			have, ok := ours[i][name]
			if !ok {
				return false
			}
			switch name {
			case "flags":
				if have != value && !(early && strings.Replace(value, "d", "", 1) == strings.TrimPrefix(have, "N")) {
					return false
				}
			case "multi": // both stop counting once they see that a watched key has been changed
				if have != value && !strings.Contains(ours[i]["flags"], "d") && !(early && strings.Contains(theirs[i]["flags"], "d")) {
					return false
				}
			case "name", "db", "sub", "psub", "ssub", "user", "redir", "resp":
				if have != value {
					return false
				}
			case "cmd":
				command, _, _ := strings.Cut(value, "|")
				if have != value && !(have == "NULL" && slices.Contains(foreignNames, command) || slices.Contains(foreignSubcommands, value)) {
					return false
				}
			}
		}
	}
	return true
}

func sameHelp(c *compared) bool {
	a, b := c.replies[redis], c.replies[quipu]
	return a.Type == '*' && b.Type == '*' && len(b.Elems) > 2 && a.Elems[0].Text == b.Elems[0].Text &&
		a.Elems[0].Type == b.Elems[0].Type && a.Elems[len(a.Elems)-1].Text == b.Elems[len(b.Elems)-1].Text
}

// sameCommandList: COMMAND, COMMAND COUNT and COMMAND LIST name fewer commands; GETKEYS knows fewer.
func sameCommandList(c *compared) bool {
	a, b := c.replies[redis], c.replies[quipu]
	switch word(c.args, 1) {
	case "", "count":
		return sameType(c)
	case "info", "docs":
		return len(c.args) == 2 && sameType(c)
	case "list":
		return sameType(c) && onlyNewer(a, b)
	case "getkeys", "getkeysandflags":
		return len(c.args) > 2 && slices.Contains(foreignNames, strings.ToLower(c.args[2])) && b.Text == "ERR Invalid command specified"
	}
	return false
}

// sameCategory is for ACL CAT with a category: the same commands, but for those that one side lacks.
func sameCategory(c *compared) bool {
	if len(c.args) != 3 || !sameType(c) {
		return false
	}
	return len(c.replies[quipu].Elems) > 0 && onlyNewer(c.replies[redis], c.replies[quipu])
}

// onlyNewer reports whether the commands that Quipu names, and Redis does not, are newer ones.
func onlyNewer(theirs, ours redistest.Reply) bool {
	names := elements(theirs)
	for _, name := range elements(ours) {
		if !slices.Contains(names, name) && !slices.ContainsFunc(newer, func(s string) bool { return strings.Contains(name, s) }) {
			return false
		}
	}
	return true
}

// newer are commands of Redis after 7.0 and our own, as COMMAND LIST writes them.
var newer = func() (names []string) {
	for _, cmd := range server.Commands().All() {
		if cmd.Own {
			names = append(names, cmd.FullName())
		}
	}
	return names
}()

// sameUnordered: the same, where the order of what arrays hold does not count.
func sameUnordered(c *compared) bool {
	var sorted func(r redistest.Reply) string
	sorted = func(r redistest.Reply) string {
		if len(r.Elems) == 0 {
			return string(r.Encode(nil))
		}
		var list []string
		for _, e := range r.Elems {
			if text := sorted(e); !slices.ContainsFunc(newer, func(s string) bool { return strings.Contains(text, "$"+s) }) {
				list = append(list, text)
			}
		}
		slices.Sort(list)
		return string(r.Type) + strings.Join(list, "")
	}
	a, b := c.replies[redis].Elems, c.replies[quipu].Elems
	if len(c.args) == 2 || len(a) != len(b) || len(a) != len(c.args)-2 {
		return false
	}
	for i := range a {
		if sorted(a[i]) != sorted(b[i]) && !(b[i].IsNull() && slices.Contains(foreignNames, word(c.args, 2+i))) {
			return false
		}
	}
	return true
}

// sameDocs: both describe the same commands.
func sameDocs(c *compared) bool {
	a, b := c.replies[redis], c.replies[quipu]
	for i := 0; i+1 < len(a.Elems); i += 2 {
		if slices.Contains(foreignNames, a.Elems[i].Text) {
			a.Elems = slices.Delete(slices.Clone(a.Elems), i, i+2)
		}
	}
	if a.Type != b.Type || len(a.Elems) != len(b.Elems) {
		return false
	}
	for i := 0; i < len(a.Elems); i += 2 {
		if a.Elems[i].Text != b.Elems[i].Text {
			return false
		}
	}
	return true
}

func sameSave(c *compared) bool {
	for _, text := range c.text {
		known := false
		for _, begin := range []string{
			"+OK", "+Background ", "-ERR Background save already in progress", "-ERR Background append only file rewriting already in progress",
			"-ERR Another child process is active",
		} {
			known = known || strings.HasPrefix(text, begin)
		}
		if !known {
			return false
		}
	}
	return true
}

func sameConfig(c *compared) bool {
	a, b := c.types()
	return a == b && (a == '*' || a == '%')
}

// sameFunctionStats: nothing runs on either side; Quipu has no engine.
func sameFunctionStats(c *compared) bool {
	a, b := c.replies[redis].Elems, c.replies[quipu].Elems
	return sameType(c) && len(a) == 4 && len(b) == 4 && a[0].Text == b[0].Text && a[1].IsNull() && b[1].IsNull() &&
		a[2].Text == b[2].Text && a[3].Type == b[3].Type && len(b[3].Elems) == 0
}

// sameRole: a master without replicas, at an offset of its own.
func sameRole(c *compared) bool {
	a, b := c.replies[redis].Elems, c.replies[quipu].Elems
	return sameShape(c) && len(a) == 3 && a[0].Text == b[0].Text
}

// lacking: Quipu does not know a command or subcommand of Redis, and says so.
func lacking(c *compared) bool {
	unknown := "-ERR unknown command '" + c.args[0] + "', with args beginning with: "
	if len(c.args) > 1 && slices.Contains(foreignSubcommands, word(c.args, 0)+"|"+word(c.args, 1)) {
		unknown = "-ERR unknown subcommand '" + c.args[1] + "'. Try " + strings.ToUpper(c.args[0]) + " HELP."
	} else if !slices.Contains(foreignNames, word(c.args, 0)) {
		return false
	}
	return strings.HasPrefix(c.text[quipu], unknown) && !c.inExec
}
