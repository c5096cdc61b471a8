package chaos

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/internal/testbed"
)

const (
	flightsFile = "../../../examples/flights/data/flights-20k.csv.gz"
	flightsConf = "../../../examples/flights/flights.conf"
)

// flights are the lines of the file, and their counts, without any of our code.
func flights(t *testing.T) (lines []string, want map[string]int64) {
	f, err := os.Open(flightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]int64{}
	in := bufio.NewScanner(unpacked)
	in.Scan() // names of the columns
	for in.Scan() {
		// date,delay_minutes,distance_miles,origin,destination
		c := strings.Split(in.Text(), ",")
		minutes, err := strconv.ParseInt(c[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		want["flights:origin:"+c[3]]++
		want["flights:route:"+c[3]+"-"+c[4]]++
		want["flights:delay:"+c[3]] += minutes
		lines = append(lines, in.Text())
	}
	return lines, want
}

// configure writes the configuration of the example for another place.
func configure(t *testing.T, replace ...string) string {
	text, err := os.ReadFile(flightsConf)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("%s has no %q", flightsConf, replace[i])
		}
	}
	path := filepath.Join(t.TempDir(), "flights.conf")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// counted waits until all keys are as wanted.
func counted(t *testing.T, server *testbed.Quipu, want map[string]int64, limit time.Duration) {
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		client, differ, first, tooMany := server.Client(0), 0, "", false
		for key, n := range want {
			if got, err := client.Get(t.Context(), key).Int64(); err != nil || got != n {
				if differ++; differ <= 5 {
					first += fmt.Sprintf("%s is %d, %v, want %d; ", key, got, err, n)
				}
				tooMany = tooMany || got > n && !strings.Contains(key, "delay")
			}
		}
		if tooMany {
			t.Logf("%d of %d keys differ: %s", differ, len(want), first)
			end = end.Add(-limit) // look once more, and give up
		}
		if differ == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d keys differ: %s", differ, len(want), first)
		}
	}
}

// TestFlightsFile: the flights of a file count once while the connector and the server are killed.
func TestFlightsFile(t *testing.T) {
	_, want := flights(t)
	server := testbed.StartQuipu(t, 1)
	path, err := filepath.Abs(flightsFile)
	if err != nil {
		t.Fatal(err)
	}
	conf := configure(t, "127.0.0.1:6379", server.Addrs[0], "examples/flights/data/flights-20k.csv.gz", path,
		"\n  INCR   flights:origin", "\n  batch 100\n  INCR   flights:origin") // small batches, so that kills fall between them
	connector := testbed.NewProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", conf)
	connector.Start()
	for range 6 {
		time.Sleep(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		connector.Kill()
		connector.Start()
		time.Sleep(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		server.Kill(0)
		server.Start(0)
	}
	counted(t, server, want, 30*time.Second)
	for range 2 { // and not again
		again := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", "-until-end", conf)
		if status := again.Wait(20 * time.Second); status != 0 {
			t.Errorf("ended with status %d", status)
		}
	}
	counted(t, server, want, time.Second)
}

// TestFlightsKafka: the flights count once through a topic while connector, server and broker are killed. kfake forgets what its
// producers have sent when it is killed, and takes some of it again: it is not killed.
func TestFlightsKafka(t *testing.T) {
	lines, want := flights(t)
	server, broker := testbed.StartQuipu(t, 1), (*testbed.Broker)(nil)
	if testing.Short() {
		broker = testbed.StartKfake(t)
	} else {
		broker = testbed.StartKafka(t)
	}
	broker.CreateTopic(t, "flights", 3)
	conf := configure(t, "127.0.0.1:6379", server.Addrs[0], "file examples/flights/data/flights-20k.csv.gz",
		"kafka "+broker.Addr+"\n  topic flights\n  group flights\n  format csv\n  columns date,delay_minutes,distance_miles,origin,destination\n  batch 100")
	program := testbed.Program(t, "./cmd/quipu-connect")
	one, two := testbed.StartProcess(t, program, "run", "-instance", "one", conf), testbed.StartProcess(t, program, "run", "-instance", "two", conf)
	producer := broker.Client(t, kgo.DefaultProduceTopic("flights"))
	for at := 0; at < len(lines); at += 2500 {
		var records []*kgo.Record
		for i, line := range lines[at:min(at+2500, len(lines))] {
			records = append(records, &kgo.Record{Key: fmt.Append(nil, at+i), Value: []byte(line)})
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		switch at / 2500 {
		case 1, 4:
			one.Kill()
			one.Start()
		case 2, 5:
			server.Kill(0)
			server.Start(0)
		case 3, 6:
			if !testing.Short() {
				broker.Kill()
				broker.Start()
			}
		case 7:
			two.Kill()
		}
	}
	ends, err := broker.Admin(t).ListEndOffsets(t.Context(), "flights")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	if total != int64(len(lines)) {
		t.Fatalf("the topic has %d records, %d were sent: the broker or its client has doubled some", total, len(lines))
	}
	counted(t, server, want, time.Minute)
}
