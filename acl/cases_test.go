package acl

import "strings"

// ruleCases are lists of calls, separated by semicolons, of rules, separated by blanks here unless there is a tab.
var ruleCases = func() (cases []string) {
	for _, c := range []string{
		"on", "off", "ON", "nopass", "on nopass skip-sanitize-payload", "sanitize-payload", "reset", "on;off", "foo", "on foo", "", ")", "on \t",
		// Commands.
		"+get", "+get +set", "+GET", "+get -get", "-get", "+@read", "+@READ", "+@read -get", "+@read -get +get", "+@all -@dangerous", "+@all -get",
		"allcommands", "nocommands", "+@all nocommands", "+@all -@all", "+@string +config|get", "+config -config|set", "+config|get +config",
		"+config|get -config", "+@all -config|set", "+@all -config +config|get", "-@slow +@all -@slow", "+@all -@slow", "+@admin -@fast", "+@read -@write +get",
		"+@dangerous +@slow -@admin", "+@all -@keyspace +keys", "+select|0", "+select|0 +select|1", "+select|0 -select", "+select +select|0",
		"+select|0 +select", "+@all -select +select|0", "+get|A +get|a", "+GEt|FooBar", "+select|0 -@connection", "+@connection -select|0",
		"+nosuch", "-nosuch", "+@nosuch", "-@nosuch", "+config|nosuch", "-config|nosuch", "-select|0", "+config|", "+|", "+", "-", "+@", "+@read|x",
		"+client|kill|x", "+config|set|", "-config|set|a", "+get|a|b", "+get +nosuch;+set", "+acl|SETUSER", "+select|", "+object +object|help -object",
		"+@all -acl +acl|whoami", "+@transaction +@pubsub -subscribe", "+@hash +@list -@read", "+memory|usage -@read +memory", "-@all", "+@all",
		// Keys.
		"~a ~b", "~* ~a", "~a ~*", "~* resetkeys ~a", "allkeys", "ALLKEYS ~a", "RESETKEYS", "%R~a", "%RW~a", "%rw~a", "%W~b %R~b", "%R~* %W~x", "%RW~*",
		"%R~*", "%X~a", "%~a", "%", "%R", "%RW", "%RWR~a", "%RR~a", "~", "~a%b", "~a ~a", "~[a-z]* ~x:?", "%R~a resetkeys", "allkeys resetchannels",
		// Channels.
		"&ch", "&a &b", "&* &ch", "&ch &*", "&* allchannels", "allchannels &a", "resetchannels &* &*", "&a &a", "&a resetchannels", "&",
		// Passwords.
		">p", ">p >p", ">p >q", ">p <p", "<none", ">p <q", ">", "<", "> <", "nopass >p", ">p nopass", ">p resetpass", "nopass resetpass", "#zz", "!abc", "#",
		"#c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2", ">foobar !c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2",
		"#C3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2", "!c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2", ">p;>q;<p",
		// Selectors.
		"(+get ~a)", "(+get ~a) (-get)", "(+get\t~a)", "( +get )", "()", "(on)", "(>x)", "(reset)", "(nopass)", "clearselectors", "(+get) clearselectors",
		"(+get) reset", "(+get", "(", "( ", "(+get)x", "((+get))", "((+get) (+set)", "(+get (~a)", "(~a +@read -@write +get)", "(~a +nosuch)", "(~* ~a)",
		"(%R~a &b +@all -get)", "(+get);(+set ~x);-get", "(+select|0 ~a) +@all", "on >p ~r:* %R~ro:* &c* +get +set (+del ~d:*) (%W~w +@write)",
		"on;>p;~a;+get;resetkeys;~b;(+set);-get;+mget",
	} {
		if !strings.Contains(c, "\t") && !strings.HasSuffix(c, " ") {
			c = strings.ReplaceAll(c, " ", "\t")
		}
		cases = append(cases, c)
	}
	return append(cases, "( +get )", "(~a +nosuch)", "~a b", "&a b", "(+get ~a) (-get)", "( )", "(+get\t~a)\ton", "(+get\t(~a)", "on \t>p")
}()
