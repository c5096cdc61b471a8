package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
	"quipu/server"
)

// userGame makes users by random rules on both servers, and finds out what they may do: the rules' replies, ACL GETUSER, ACL DRYRUN,
// commands of connections that are such a user's, and ACL LOG must be the same.
type userGame struct {
	t     *testing.T
	p     *pair
	r     *rand.Rand
	g     *generator
	names []string // of commands that both servers have
	admin [2]*redistest.Conn
	said  []string // since the round began
}

// TestUsersAgainstRedis plays rounds of userGame.
func TestUsersAgainstRedis(t *testing.T) {
	rounds := redistest.Size(60, 150, 2000)
	seed := number(t, "QUIPU_TEST_SEED", rand.Uint64())
	t.Logf("QUIPU_TEST_SEED=%d", seed)
	u := &userGame{t: t, p: startPair(t, shim(t), setup{transport: "auto"}), r: rand.New(rand.NewPCG(seed, 0)), g: newGenerator(seed, 0, false)}
	defer u.p.close()
	for _, cmd := range server.Commands().All() {
		if !cmd.Own && excluded[cmd.FullName()] == "" {
			u.names = append(u.names, cmd.FullName())
		}
	}
	for side := range u.admin {
		u.admin[side] = u.p.dial(side)
		defer u.admin[side].Close()
	}
	for range rounds {
		if u.round(); t.Failed() {
			t.Fatalf("what was said:\n%s", strings.Join(u.said, "\n"))
		}
	}
}

func (u *userGame) pick(list ...string) string { return list[u.r.IntN(len(list))] }

func (u *userGame) round() {
	u.said = nil
	u.both(u.admin, "ACL", "LOG", "RESET")
	u.both(u.admin, "FLUSHALL")
	for range 1 + u.r.IntN(4) {
		args := []string{"ACL", "SETUSER", "u"}
		for range 1 + u.r.IntN(6) {
			args = append(args, u.rule(true))
		}
		u.same(u.admin, args...)
	}
	u.sameUser()
	for range 40 {
		u.same(u.admin, append([]string{"ACL", "DRYRUN", "u"}, u.call()...)...)
	}
	u.play()
	u.sameLog()
	u.same(u.admin, "ACL", "DELUSER", "u")
}

// rule is a random rule; selectors says that it may be one.
func (u *userGame) rule(user bool) string {
	n := u.r.IntN(20)
	if !user {
		n %= 14
	}
	switch n {
	case 0, 1, 2:
		return u.pick("+", "-") + "@" + u.pick("keyspace", "read", "write", "string", "hyperloglog", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "set", "nosuch")
	case 3, 4, 5, 6:
		return u.pick("+", "-") + u.pick(u.names...)
	case 7:
		return u.pick("+", "-") + u.pick("client", "config", "object", "memory", "acl", "command", "cluster", "nosuch", "get|a")
	case 8:
		return "+select|" + u.pick("0", "1", "2")
	case 9, 10:
		return u.pick("~", "~", "%R~", "%W~", "%RW~", "%rw~", "%X~") + u.pick("a", "b*", "[ab]", "c?", "*x", "k\\*", "")
	case 11:
		return u.pick("allkeys", "resetkeys", "~*", "ALLKEYS", "%R~*", "%W~*")
	case 12:
		return u.pick("&x", "&*", "allchannels", "resetchannels", "&y*")
	case 13:
		return u.pick("+@all", "-@all", "allcommands", "nocommands", "", "foo")
	case 14, 15:
		return u.pick("on", "on", "off", "nopass", "resetpass", ">p", ">q", "<p", "<none", "sanitize-payload", "#zz")
	case 16:
		return u.pick("reset", "clearselectors", "on")
	}
	var words []string
	for range u.r.IntN(4) {
		words = append(words, u.rule(false))
	}
	return "(" + strings.Join(words, " ") + ")"
}

// call is a command that both servers have, with arguments that may be wrong.
func (u *userGame) call() []string {
	for {
		var args []string
		if u.r.IntN(3) > 0 {
			args = u.simple()
		} else if args = u.g.command(); slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, symbol) }) {
			continue
		}
		if isForeign(args) || word(args, 0) == "pfmerge" && len(args) == 2 {
			continue // Redis finds no key in PFMERGE of one, and so lets anybody write it
		}
		if strings.Contains(word(args, 1), "\x00") {
			continue // Redis compares it with +command|argument up to there
		}
		full := word(args, 0) + "|" + word(args, 1)
		if slices.Contains(u.names, word(args, 0)) || slices.Contains(u.names, full) {
			return args
		}
	}
}

// simple is a command whose reply depends on nothing but the data and the rights.
func (u *userGame) simple() []string {
	k := func() string { return u.pick("a", "b", "b1", "c1", "ax", "d", "k*") }
	switch u.r.IntN(16) {
	case 0, 1:
		return []string{"GET", k()}
	case 2:
		return []string{"SET", k(), "1"}
	case 3:
		return []string{"SET", k(), "2", "GET"}
	case 4:
		return []string{"INCR", k()}
	case 5:
		return []string{"MGET", k(), k(), k()}
	case 6:
		return []string{"MSET", k(), "1", k(), "2"}
	case 7:
		return []string{"DEL", k(), k()}
	case 8:
		return []string{"EXISTS", k()}
	case 9:
		return []string{"COPY", k(), k()}
	case 10:
		return []string{"RENAME", k(), k()}
	case 11:
		return []string{u.pick("TYPE", "TTL", "PERSIST", "STRLEN", "GETDEL", "GETEX", "TOUCH"), k()}
	case 12:
		return []string{"PFMERGE", k(), k()}
	case 13:
		return []string{"OBJECT", "ENCODING", k()}[:u.r.IntN(2)+2]
	case 14:
		return u.words("PING", "ECHO x", "SELECT 0", "SELECT 1", "SELECT 3", "ACL WHOAMI", "CLIENT GETNAME", "CONFIG GET timeout", "DBSIZE")
	}
	return u.words("MULTI", "EXEC", "DISCARD", "WATCH a", "UNWATCH", "EXEC")
}

func (u *userGame) words(lines ...string) []string { return strings.Fields(u.pick(lines...)) }

// both sends a command to both servers.
func (u *userGame) both(conns [2]*redistest.Conn, args ...string) (replies [2]redistest.Reply) {
	u.t.Helper()
	for side, c := range conns {
		r, err := c.Do(args...)
		if err != nil {
			u.t.Fatalf("%q: %s: %v\n%s", args, sideNames[side], err, strings.Join(u.said, "\n"))
		}
		replies[side] = r
	}
	u.said = append(u.said, fmt.Sprintf("%q: %.200q", args, replies[redis].Encode(nil)))
	return replies
}

// same is both for a command whose replies must be the same.
func (u *userGame) same(conns [2]*redistest.Conn, args ...string) redistest.Reply {
	u.t.Helper()
	replies := u.both(conns, args...)
	a, b := string(replies[redis].Encode(nil)), string(replies[quipu].Encode(nil))
	if a != b {
		u.t.Errorf("%q:\nredis %q\nquipu %q", args, a, b)
	}
	return replies[quipu]
}

// sameUser compares what ACL GETUSER shows, but for the words in which commands are told.
func (u *userGame) sameUser() {
	replies := u.both(u.admin, "ACL", "GETUSER", "u")
	var shown [2]string
	for side, r := range replies {
		var show func(r redistest.Reply) string
		show = func(r redistest.Reply) (text string) {
			for i := 0; i+1 < len(r.Elems); i += 2 {
				switch name := r.Elems[i].Text; name {
				case "commands":
				case "selectors":
					for _, s := range r.Elems[i+1].Elems {
						text += "(" + show(s) + ")"
					}
				default:
					text += fmt.Sprintf("%s %q ", name, r.Elems[i+1].Encode(nil))
				}
			}
			return text
		}
		shown[side] = show(r)
	}
	if shown[redis] != shown[quipu] {
		u.t.Errorf("ACL GETUSER:\nredis %s\nquipu %s", shown[redis], shown[quipu])
	}
}

// play runs commands on connections of the user, while its rules change.
func (u *userGame) play() {
	var conns [2]*redistest.Conn
	for side := range conns {
		conns[side] = u.p.dial(side)
		defer conns[side].Close()
	}
	if r := u.same(conns, "AUTH", "u", "p"); r.IsError() {
		u.both(u.admin, "ACL", "SETUSER", "u", "on", ">p")
		if u.same(conns, "AUTH", "u", "p").IsError() {
			u.t.Errorf("nobody can be the user: %v", r)
		}
	}
	for range 25 {
		if u.r.IntN(8) == 0 {
			u.same(u.admin, "ACL", "SETUSER", "u", u.pick(u.rule(false), "+@all", "+@read", "+@write", "~*", "-@transaction"))
		}
		u.same(conns, u.simple()...)
	}
}

// sameLog compares ACL LOG, but for times and connections.
func (u *userGame) sameLog() {
	replies := u.both(u.admin, "ACL", "LOG", "100")
	var shown [2]string
	for side, r := range replies {
		for _, e := range r.Elems {
			for i := 0; i < 10 && i+1 < len(e.Elems); i += 2 {
				shown[side] += fmt.Sprintf("%s %s%s ", e.Elems[i].Text, e.Elems[i+1].Text, e.Elems[i+1].Encode(nil)[:1])
			}
			shown[side] += "\n"
		}
	}
	if shown[redis] != shown[quipu] {
		u.t.Errorf("ACL LOG:\nredis\n%s\nquipu\n%s", shown[redis], shown[quipu])
	}
}
