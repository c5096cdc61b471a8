package main

// limitMutants are those of the limits on all clients together.
var limitMutants = []mutant{
	{"limits: clients together may hold any amount of memory", "server/evict.go",
		"sum-m.going.Load() > limit", "sum < 0",
		"server TestClientMemory"},
	{"limits: the queue of MULTI does not count", "server/evict.go",
		"\t\tqueue = s.multi.held()\n", "",
		"server TestClientMemory"},
	{"limits: the memory of clients that are gone counts", "server/session_transport.go",
		"\ts.holdsNothing()\n", "",
		"server TestClientMemory"},
	{"limits: clients that are being closed count as gone for ever", "server/evict.go",
		"\ts.holds(0)\n\ts.notGoing()\n", "\ts.holds(0)\n",
		"server TestClientMemory"},
	{"limits: NO-EVICT spares nobody", "server/evict.go",
		" && !s.seen.noEvict.Load()", "",
		"server TestClientMemory"},
	{"limits: those who know the password are closed before strangers", "server/evict.go",
		"case a.authed == b.authed:", "case true:",
		"server TestStrangersGoFirst"},
	{"limits: a socket file is for everybody until its mode is set", "transport/listen.go",
		"c.Control(func(fd uintptr) { restrictSocket(fd, perm) })", "nil",
		"transport TestUnixPermissions"},
	{"limits: names of clients may have any length", "server/connection_commands.go",
		"len(name) > nameLimit", "false",
		"server TestClientNameLength"},
}
