package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

const example = `# counts likes
quipu 127.0.0.1:6379 [::1]:6380   # two nodes
  user "con nector"
  password env:QUIPU_PASSWORD
  tls yes
  tls-ca-cert-file /etc/quipu/ca.crt
  tls-cert-file client.crt
  tls-key-file "the key"
  tls-server-name quipu.example
http :9471

source likes
  kafka 127.0.0.1:9092 b:9092
  topic likes
  group quipu-likes            # shows the lag
  user counter
  password "file:/run/kafka password"
  on-bad-record park likes.dead
  when event == "like # no comment" && x != 'a\' # b' # comment
  INCRBY likes:{post_id} {weight|1}
  incrby likes:{post_id}:{ts|hour} 1 expire 400d   # comment

	PFADD  "fans of \"{post_id}\"" #none

source flights
  file "my flights.csv.gz"
  SET k a#b "expire" "" "#"

source old.ones
  kafka a:1
  topic t
  group none
  partitions 5,0-3
  tls yes
  start latest
  format csv
  columns a,b,"c"
  on-gap accept
  on-bad-record stop
  batch 100000
  DEL {a}

source p
  pulsar pulsar://127.0.0.1:6650
  topic persistent://public/default/t
  UC.ADD u {a}

sink totals
  match "likes: *"
  sql sqlite:likes.db
  every 2s

sink all
  sql env:QUIPU_SQL
`

func TestParse(t *testing.T) {
	cfg, err := Parse("likes.conf", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		File: "likes.conf",
		Quipu: Quipu{
			File: "likes.conf", Line: 2, Nodes: []string{"127.0.0.1:6379", "[::1]:6380"}, User: "con nector", Password: "env:QUIPU_PASSWORD",
			TLS: true, CA: "/etc/quipu/ca.crt", Cert: "client.crt", Key: "the key", ServerName: "quipu.example",
		},
		HTTP: ":9471",
		Sources: []*Source{
			{
				Name: "likes", File: "likes.conf", Line: 12, Kind: KindKafka, Brokers: []string{"127.0.0.1:9092", "b:9092"},
				Topic: "likes", Group: "quipu-likes", User: "counter", Password: "file:/run/kafka password",
				Start: StartEarliest, Format: FormatJSON, Follow: true, Park: "likes.dead", Batch: 20000,
				When: Expression{`event == "like # no comment" && x != 'a\' # b'`, 19},
				Commands: []Command{
					{20, []string{"INCRBY", "likes:{post_id}", "{weight|1}"}, 0},
					{21, []string{"INCRBY", "likes:{post_id}:{ts|hour}", "1"}, 400 * 24 * time.Hour},
					{23, []string{"PFADD", `fans of "{post_id}"`}, 0},
				},
			},
			{
				Name: "flights", File: "likes.conf", Line: 25, Kind: KindFile, Path: "my flights.csv.gz",
				Start: StartEarliest, Format: FormatCSV, Follow: true, Batch: 20000,
				Commands: []Command{{27, []string{"SET", "k", "a#b", "expire", "", "#"}, 0}},
			},
			{
				Name: "old.ones", File: "likes.conf", Line: 29, Kind: KindKafka, Brokers: []string{"a:1"}, Topic: "t",
				Partitions: []int32{0, 1, 2, 3, 5}, TLS: true, Start: StartLatest, Format: FormatCSV,
				Columns: []string{"a", "b", `"c"`}, Follow: true, AcceptGap: true, Batch: 100000,
				Commands: []Command{{41, []string{"DEL", "{a}"}, 0}},
			},
			{
				Name: "p", File: "likes.conf", Line: 43, Kind: KindPulsar, URL: "pulsar://127.0.0.1:6650",
				Topic: "persistent://public/default/t", Start: StartEarliest, Format: FormatJSON, Follow: true, Batch: 20000,
				Commands: []Command{{46, []string{"UC.ADD", "u", "{a}"}, 0}},
			},
		},
		Sinks: []*Sink{
			{Name: "totals", File: "likes.conf", Line: 48, Match: "likes: *", SQL: "sqlite:likes.db", Every: 2 * time.Second},
			{Name: "all", File: "likes.conf", Line: 53, Match: "*", SQL: "env:QUIPU_SQL", Every: 500 * time.Millisecond},
		},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%s\nwant\n%s", cfg, want)
	}
	checkPrinted(t, cfg)
}

// checkPrinted checks that a configuration is read again as it was printed.
func checkPrinted(t *testing.T, cfg *Config) {
	t.Helper()
	again, err := Parse(cfg.File, []byte(cfg.String()))
	if err != nil {
		t.Fatalf("printed as\n%s\nit is refused: %v", cfg, err)
	}
	for _, c := range []*Config{cfg, again} {
		c.Quipu.Line = 0
		for _, s := range c.Sources {
			s.Line, s.When.Line = 0, 0
			for i := range s.Commands {
				s.Commands[i].Line = 0
			}
		}
		for _, s := range c.Sinks {
			s.Line = 0
		}
	}
	if !reflect.DeepEqual(cfg, again) {
		t.Errorf("printed as\n%s\nit is read as\n%s", cfg, again)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := Parse("x", []byte("\ufeffsource s\r\n  file a.json\r\n  follow no\r\n  INCR k"))
	if err != nil {
		t.Fatal(err)
	}
	s := cfg.Sources[0]
	if cfg.Quipu.Nodes[0] != "127.0.0.1:6379" || cfg.HTTP != "" || s.Batch != 20000 || s.Format != FormatJSON || s.Follow || s.AcceptGap || s.Park != "" {
		t.Errorf("unexpected defaults:\n%s", cfg)
	}
	checkPrinted(t, cfg)
	for path, want := range map[string]Format{"a": FormatJSON, "a.csv": FormatCSV, "a.CSV.gz": FormatCSV, "a.ndjson.gz": FormatJSON, "csv": FormatJSON} {
		cfg, err := Parse("x", []byte("source s\n file "+path+"\n INCR k"))
		if err != nil || cfg.Sources[0].Format != want {
			t.Errorf("%s: format %s, %v", path, cfg.Sources[0].Format, err)
		}
	}
}

func TestErrors(t *testing.T) {
	const likes = "source likes\n kafka a:1\n topic t\n group g\n INCR k\n"
	const nothing = `c: there is no source and no sink; a block "source NAME" says what to count, a block "sink NAME" where to keep counts`
	const totals = "sink totals\n sql sqlite:a.db\n"
	const usageSQL = "c:2: sql: write sql sqlite:PATH, sql postgres://USER@HOST/DATABASE, sql env:NAME or sql file:PATH"
	for _, c := range []struct{ text, want string }{
		{"", nothing},
		{"# nothing\n\n", nothing},
		{"drain totals\n  match \"likes:*\n  when \x00\n" + likes, `c:1: unknown block "drain"; a line at the margin begins with quipu, http, source or sink`},
		{"sources x\n" + likes, `c:1: unknown block "sources"; did you mean source?`},
		{likes + "topic x\n", `c:6: unknown block "topic"; indent it, so that it belongs to the source above`},
		{likes + "INCR x\n", `c:6: unknown block "INCR"; indent it, so that it belongs to the source above`},
		{"  topic x\n" + likes, `c:1: an indented line belongs to the block above, and there is none`},
		{"quipu a\n" + likes, `c:1: quipu: "a" is not an address such as 127.0.0.1:6379`},
		{"quipu a:1 a:1\n" + likes, `c:1: quipu: a:1 is given twice`},
		{"quipu a:1\nquipu a:2\n" + likes, `c:2: quipu is there twice; the first one is in line 1`},
		{"quipu a:1\n  passwort x\n" + likes, `c:2: unknown setting "passwort"; did you mean password?`},
		{"quipu a:1\n  retries 3\n" + likes, `c:2: unknown setting "retries"; a quipu block knows user, password, tls, tls-ca-cert-file, tls-cert-file, tls-key-file, tls-server-name`},
		{"quipu a:1\n  user u\n" + likes, `c:2: a user needs a password; add password env:NAME or password file:PATH`},
		{"quipu a:1\n  user u v\n  password env:P\n" + likes, `c:2: user: write user NAME`},
		{"quipu a:1\n  password env:P\n  password env:Q\n" + likes, `c:3: password is given twice; the first one is in line 2`},
		{"quipu a:1\n  tls on\n" + likes, `c:2: tls: write tls yes or tls no`},
		{"quipu a:1\n  tls no\n  tls-ca-cert-file ca\n" + likes, `c:3: tls-ca-cert-file needs tls yes`},
		{"quipu a:1\n  tls-server-name n\n" + likes, `c:2: tls-server-name needs tls yes`},
		{"quipu a:1\n  tls yes\n  tls-cert-file c\n" + likes, `c:3: tls-cert-file and tls-key-file need each other; add tls-key-file PATH`},
		{"quipu a:1\n  tls-key-file k\n  tls yes\n" + likes, `c:2: tls-cert-file and tls-key-file need each other; add tls-cert-file PATH`},
		{"quipu a:1\n  tls yes\n  tls-ca-cert-file \"\"\n" + likes, `c:3: tls-ca-cert-file: write tls-ca-cert-file PATH`},
		{"quipu a:1\n  password hunter2\n" + likes, `c:2: a password does not stand in this file: write password env:NAME or password file:PATH`},
		{"http a:0\n" + likes, `c:1: http: "a:0" is not an address such as 127.0.0.1:6379`},
		{"http\n" + likes, `c:1: http takes one address, such as http 127.0.0.1:9471`},
		{"http :1\n  tls yes\n" + likes, `c:2: unknown setting "tls"; an http block has no settings`},
		{"source\n file f\n INCR k\n", `c:1: source takes one name, such as source likes`},
		{"source a/b\n file f\n INCR k\n", `c:1: the name "a/b" is not valid: letters, digits, and - _ . are, up to 100 bytes`},
		{likes + likes, `c:6: source likes is there twice; the first one is in line 1`},
		{likes + " topic u\n", `c:6: topic is given twice; the first one is in line 3`},
		{likes + " topc u\n", `c:6: unknown setting or command "topc"; did you mean topic?`},
		{likes + " INCBY u\n", `c:6: unknown setting or command "INCBY"; did you mean INCRBY?`},
		{likes + " retention 5m\n", `c:6: unknown setting or command "retention"; settings are when, kafka, pulsar, file, topic, group, partitions, tls, user, password, start, format, columns, follow, on-gap, on-bad-record, batch`},
		{likes + " start now\n", `c:6: start: write start earliest or start latest`},
		{likes + " batch 0\n", `c:6: batch: "0" is not a number of records from 1 to 100000`},
		{likes + " batch 1 2\n", `c:6: batch: write batch 20000`},
		{likes + " on-bad-record park\n", `c:6: on-bad-record: write on-bad-record stop or on-bad-record park NAME`},
		{likes + " on-bad-record park a/b\n", `c:6: on-bad-record: the name "a/b" is not valid: letters, digits, and - _ . : are, up to 100 bytes`},
		{likes + " partitions 3\n", `c:6: the group g assigns the partitions; partitions need group none`},
		{likes + " partitions 3-1\n", `c:6: partitions: "3-1" are not partitions such as 0-3,7`},
		{likes + " user u\n", `c:6: user and password need each other; add password env:NAME`},
		{likes + " password env:X\n", `c:6: user and password need each other; add user NAME`},
		{likes + " follow yes\n", `c:6: follow is not a setting of a source that reads from kafka`},
		{likes + " columns a,b\n", `c:6: columns need format csv`},
		{likes + " format csv\n columns a,,b\n", `c:7: columns: the name of a column is empty; columns are separated by commas, as in columns post_id,user_id`},
		{likes + " format csv\n columns a,a\n", `c:7: columns: two columns are named "a"`},
		{likes + " format csv\n", `c:1: source likes: records in CSV need the names of their columns; add columns a,b,c`},
		{likes + " file f\n", `c:1: source likes: it reads from one place, and here are kafka and file`},
		{likes + " when\n", `c:6: when needs a condition, such as when event == "like"`},
		{likes + " when a\n when b\n", `c:7: when is given twice; the first one is in line 6`},
		{likes + " INCR k expire\n", `c:6: expire stands at the end, with a time, as in expire 400d; where it is meant as text, write "expire"`},
		{likes + " INCR k expire 3w\n", `c:6: expire: "3w" is not a time such as 30s, 15m, 12h or 400d, at most 36500d`},
		{likes + " INCR k expire 36501d\n", `c:6: expire: "36501d" is not a time such as 30s, 15m, 12h or 400d, at most 36500d`},
		{likes + " INCR \"k\n", `c:6: a quote is not closed`},
		{likes + " INCR \"k\"x\n", `c:6: a blank is missing behind a closing quote`},
		{likes + " INCR \"\\n\"\n", `c:6: in quotes a backslash stands before a quote or a backslash only: \" or \\`},
		{likes + " INCR \x00\n", `c:6: the line contains a control character`},
		{likes + " INCR \xff\n", `c:6: the line is not valid UTF-8`},
		{"source s\n file f\n", `c:1: source s: it counts nothing; add a command, such as INCRBY likes:{post_id} 1`},
		{"source s\n INCR k\n", `c:1: source s: it does not say where records come from; add kafka HOST:PORT, pulsar pulsar://HOST:PORT or file PATH`},
		{"source s\n kafka a:1\n INCR k\n", "c:1: source s: the topic is missing; add topic NAME\nc:1: source s: the consumer group is missing; add group NAME, or group none and partitions 0-3"},
		{"source s\n kafka a:1\n topic t\n group none\n INCR k\n", `c:1: source s: with group none it needs partitions, such as partitions 0-3`},
		{"source s\n pulsar http://a\n topic t\n INCR k\n", `c:2: pulsar: "http://a" is not a URL such as pulsar://127.0.0.1:6650`},
		{"source s\n pulsar pulsar://a\n topic t\n tls yes\n INCR k\n", `c:4: tls is not a setting of a source that reads from pulsar`},
		{"source s\n file f\n start latest\n topic t\n INCR k\n", "c:3: start is not a setting of a source that reads from file\nc:4: topic is not a setting of a source that reads from file"},
		{"quipu x\n" + likes + " batch x\n foo\n", "c:1: quipu: \"x\" is not an address such as 127.0.0.1:6379\nc:7: batch: \"x\" is not a number of records from 1 to 100000\n" +
			`c:8: unknown setting or command "foo"; settings are when, kafka, pulsar, file, topic, group, partitions, tls, user, password, start, format, columns, follow, on-gap, on-bad-record, batch`},
		{totals + totals, `c:3: sink totals is there twice; the first one is in line 1`},
		{"sink\n sql sqlite:a.db\n", `c:1: sink takes one name, such as sink totals`},
		{"sink a/b\n sql sqlite:a.db\n", `c:1: the name "a/b" is not valid: letters, digits, and - _ . are, up to 100 bytes`},
		{"sink s\n match a\n", `c:1: sink s: it does not say where to write; add sql sqlite:PATH, or sql env:NAME with a URL`},
		{totals + " match a b\n", `c:3: match: write match likes:*`},
		{totals + " match a\n match b\n", `c:4: match is given twice; the first one is in line 3`},
		{totals + " evry 1s\n", `c:3: unknown setting "evry"; did you mean every?`},
		{totals + " topic t\n", `c:3: unknown setting "topic"; a sink knows match, sql, every`},
		{totals + " every 49ms\n", `c:3: every: "49ms" is not a time from 50ms to 1h, such as 500ms or 5s`},
		{totals + " every 2h\n", `c:3: every: "2h" is not a time from 50ms to 1h, such as 500ms or 5s`},
		{totals + "match a\n", `c:3: unknown block "match"; indent it, so that it belongs to the sink above`},
		{"sink s\n sql mysql://a/b\n", usageSQL},
		{"sink s\n sql sqlite:\n", usageSQL},
		{"sink s\n sql postgres://u:secret@h/d\n", `c:2: sql: a password does not stand in this file: keep the URL elsewhere and write sql env:NAME or sql file:PATH`},
		{"sink s\n sql postgres://h/d?password=secret\n", `c:2: sql: a password does not stand in this file: keep the URL elsewhere and write sql env:NAME or sql file:PATH`},
		{strings.Repeat("x", MaxBytes+1), "c: the file is larger than 1048576 bytes"},
	} {
		_, err := Parse("c", []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.200q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestManyErrors(t *testing.T) {
	_, err := Parse("c", []byte(strings.Repeat("x\n", 1000)))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != MaxErrors || errs[19].Line != 20 {
		t.Errorf("%d mistakes: %v", len(errs), err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.conf")
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), "configuration file: open ") {
		t.Errorf("a missing file: %v", err)
	}
	for text, want := range map[string]string{
		"source s\n file f\n INCR k":     "",
		"sauce":                          path + `:1: unknown block "sauce"; did you mean source?`,
		strings.Repeat("#", MaxBytes+1):  "configuration file: " + path + " is larger than 1048576 bytes",
		"source s\n file f\n INCR k#x #": "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%.50q: %v", text, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "a b\r\n", "empty": "\n", "large": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("QUIPU_TEST_SECRET", "s")
	for _, c := range []struct{ secret, want, err string }{
		{"env:QUIPU_TEST_SECRET", "s", ""},
		{"env:QUIPU_TEST_NONE", "", "the environment variable QUIPU_TEST_NONE, which should hold a password, is not set"},
		{"file:" + dir + "/good", "a b", ""},
		{"file:" + dir + "/empty", "", "the password in file:" + dir + "/empty is empty"},
		{"file:" + dir + "/large", "", "password: " + dir + "/large is larger than 65536 bytes"},
		{"file:" + dir + "/none", "", "password: open " + dir + "/none: no such file or directory"},
		{"", "", "a password is read from env:NAME or file:PATH"},
	} {
		got, err := Secret(c.secret).Resolve()
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %q, %v", c.secret, got, err)
		}
	}
}

// TestCommandsOfTheServer compares the tables with the page that the server writes of its commands.
func TestCommandsOfTheServer(t *testing.T) {
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Skip("the server's documents are not here")
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z.0-9_]+)([^`]*)`.*\\| (write|read|connection or node) \\|$").FindAllSubmatch(page, -1)
	seen := map[string]bool{}
	for _, row := range rows {
		name, kind := string(row[1]), string(row[3])
		seen[name] = true
		info, ok := LookupCommand(strings.ToLower(name))
		if !ok || kind != "write" && info.Refused == "" {
			t.Errorf("%s, of kind %s, is known: %v, refused: %q", name, kind, ok, info.Refused)
		}
	}
	for _, name := range commandNames() {
		if !seen[name] {
			t.Errorf("the server does not know %s", name)
		}
	}
	if len(rows) < 100 {
		t.Errorf("only %d commands are on the page", len(rows))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("source s\n file \"a b\"\n when a == '#' # c\n SET \"\\\"\" \"expire\" x#y expire 90s\n"))
	f.Add([]byte("quipu a:1\n user u\n password file:x\n tls yes\n tls-ca-cert-file \"a b\"\n tls-cert-file c\n tls-key-file k\n tls-server-name n\nsource s\n file f\n INCR k\n"))
	f.Add([]byte("sink s\n match \"a b\"\n sql postgres://u@h:1/d?sslmode=require\n every 90s\nsink t\n sql file:x\n every 1500ms\n"))
	f.Add([]byte("source s\n kafka [::1]:9\n topic t\n group none\n partitions 1,3-4,9\n format csv\n columns \"a b,c\"\n DEL k\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := Parse("f", text)
		if err == nil {
			checkPrinted(t, cfg)
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > MaxErrors {
			t.Errorf("not a list of mistakes: %v", err)
		}
	})
}
