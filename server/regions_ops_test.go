package server

import (
	"bytes"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/engine"
	"quipu/engine/shared"
	"quipu/internal/redistest"
	"quipu/internal/regionlink"
)

// lagOf is what REGION LAG says about the only other region; what is no number is left out.
func lagOf(t *testing.T, c *redistest.Conn) map[string]int64 {
	t.Helper()
	words := strings.Split(call(t, c, "REGION LAG"), "\r\n")
	lag := map[string]int64{}
	for i, name := range words {
		if i == 0 || !strings.HasPrefix(words[i-1], "$") || i+1 >= len(words) {
			continue
		}
		value := strings.TrimPrefix(words[i+1], ":")
		if strings.HasPrefix(value, "$") && i+2 < len(words) {
			value = words[i+2]
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			lag[name] = n
		}
	}
	return lag
}

// infoOf is a figure of INFO, of a line or of one of its fields.
func infoOf(t *testing.T, c *redistest.Conn, name string) string {
	t.Helper()
	m := regexp.MustCompile(`[,:\n]` + name + `[:=]([^,\r]*)`).FindStringSubmatch(call(t, c, "INFO regions"))
	if m == nil {
		t.Fatalf("INFO has no %s", name)
	}
	return m[1]
}

// timedRegion is a region on a clock of the test's.
func timedRegion(t *testing.T, name string, port int, tt *testGroup, peer config.RegionPeer) *testNode {
	return startGroupNode(t, tt, func(c *config.Config) {
		c.Port, c.AnyPort = port, false
		c.Regions.Name, c.Regions.Peers, c.Regions.Ring = name, []config.RegionPeer{peer}, 1<<20
	})
}

// TestRegionFigures: each figure of REGION LAG and INFO, where it is not 0.
func TestRegionFigures(t *testing.T) {
	euPort, usPort := redistest.FreePort(t), redistest.FreePort(t)
	euTime, euClock := newTestTime()
	usTime, usClock := newTestTime()
	usTime.advance(5 * time.Second)
	eu := timedRegion(t, "eu", euPort, &testGroup{clock: euClock}, peerAt("us", usPort))
	a := eu.dial()
	eventually(t, "a region", func() bool { return strings.HasPrefix(call(t, a, "REGION LAG"), "*1") })
	if lag := lagOf(t, a); lag["positions"] != -1 || lag["keys"] != -1 || lag["age-ms"] != -1 {
		t.Errorf("nobody has said how far he is: %v", lag)
	}
	expect(t, a, "REGION WAIT 1 1", ":0\r\n")
	us := timedRegion(t, "us", usPort, &testGroup{clock: usClock}, peerAt("eu", euPort))
	b := us.dial()
	expect(t, a, "INCR n", ":1\r\n", "INCR m", ":1\r\n", "REGION WAIT 1 20000", ":1\r\n")
	if lag := lagOf(t, a); lag["positions"] != 0 || lag["keys"] != 0 || lag["age-ms"] != 0 || lag["rows"] < 2 || lag["clock-ms"] != 5000 || lag["clock-within-ms"] != 0 || lag["rtt-us"] <= 0 {
		t.Errorf("all is told: %v", lag)
	}
	if got := infoOf(t, a, "clock_ms"); got != "5000" {
		t.Errorf("INFO: the clock is off by %s", got)
	}
	// A deadline that has passed there, by the other region's clock.
	expect(t, b, "INCR n", ":2\r\n", "REGION WAIT 1 20000", ":1\r\n")
	expect(t, a, "EXPIRE n 2", ":1\r\n", "REGION WAIT 1 20000", ":1\r\n")
	if here, there := infoOf(t, a, "region_late_deadlines"), infoOf(t, b, "region_late_deadlines"); here != "0" || there != "1" {
		t.Errorf("late deadlines: %s and %s", here, there)
	}
	// A key that the other region deletes is a tombstone there until the owner's answer has come.
	if err := eu.stop(); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "DEL m", ":1\r\n")
	if got := infoOf(t, b, "region_tombstones"); got != "1" {
		t.Errorf("%s tombstones", got)
	}
	expect(t, b, "INCR x", ":1\r\n", "INCR x", ":2\r\n")
	usTime.advance(700 * time.Millisecond)
	if lag := lagOf(t, b); lag["positions"] != 3 || lag["keys"] != 2 || lag["age-ms"] != 700 {
		t.Errorf("while the other one is away: %v", lag)
	}
	for name, want := range map[string]string{"behind": "3", "keys": "2", "age_ms": "700", "region_behind_max": "3", "region_keys_behind_max": "2", "region_age_ms_max": "700"} {
		if got := infoOf(t, b, name); got != want {
			t.Errorf("INFO: %s is %s, and not %s", name, got, want)
		}
	}
	for i := range 600 { // the ring of a part has 4 KiB
		call(t, b, fmt.Sprintf("INCR {x}:%d", i))
	}
	if lag := lagOf(t, b); lag["parts-to-tell-whole"] != 1 || lag["keys"] < 600 {
		t.Errorf("more than the ring has: %v", lag)
	}
	euTime.advance(time.Second)
	eu = timedRegion(t, "eu", euPort, &testGroup{clock: euClock}, peerAt("us", usPort)) // with nothing of what it had: another incarnation
	expect(t, b, "REGION WAIT 1 20000", ":1\r\n")
	if lag := lagOf(t, b); lag["whole-parts"] == 0 || lag["rows"] < 600 || lag["frames"] == 0 || lag["positions"] != 0 {
		t.Errorf("all is told anew: %v", lag)
	}
	for _, name := range []string{"whole_parts", "region_whole_parts", "rows", "region_rows", "frames", "region_frames"} {
		if got := infoOf(t, b, name); got == "0" {
			t.Errorf("INFO: %s is 0", name)
		}
	}
	if err := eu.stop(); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "PFADD h a", ":1\r\n")
	if lag := lagOf(t, b); lag["positions"] == 0 || lag["age-ms"] != 0 {
		t.Errorf("only a sketch is behind, and of those no age is known: %v", lag)
	}
}

// checkRuns reports whether a goroutine waits for a check.
func checkRuns() bool {
	stacks := make([]byte, 4<<20)
	return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("server.(*regionChecks).run"))
}

// TestRegionCheck: a part in which the other region has something else is found, counted and repaired.
func TestRegionCheck(t *testing.T) {
	euPort, usPort := redistest.FreePort(t), redistest.FreePort(t)
	eu := regionNode(t, "eu", euPort, nil, peerAt("us", usPort))
	a := eu.dial()
	eventually(t, "a region", func() bool { return strings.HasPrefix(call(t, a, "REGION LAG"), "*1") })
	reply := func(error string, compared, differ int) string {
		return fmt.Sprintf("*1\r\n*12\r\n$6\r\nregion\r\n$2\r\nus\r\n$5\r\nerror\r\n$%d\r\n%s\r\n$14\r\nparts-compared\r\n:%d\r\n$15\r\nparts-differing\r\n:%d\r\n$14\r\nparts-repaired\r\n:%d\r\n$15\r\nparts-elsewhere\r\n:0\r\n",
			len(error), error, compared, differ, differ)
	}
	expect(t, a, "REGION CHECK 50", reply(regionlink.ErrNotLinked.Error(), 0, 0), "REGION CHECK soon", "-ERR timeout is not an integer or out of range\r\n", "REGION CHECK 1 2", "-ERR syntax error\r\n")
	gone := eu.dial()
	fmt.Fprint(gone, "REGION CHECK 3600000\r\n")
	eventually(t, "a check", checkRuns)
	gone.Close()
	eventually(t, "the check of a client that is gone to end", func() bool { return !checkRuns() })
	us := regionNode(t, "us", usPort, nil, peerAt("eu", euPort))
	b := us.dial()
	expect(t, a, "INCRBY n 5", ":5\r\n", "INCRBY m 6", ":6\r\n", "REGION WAIT 1 20000", ":1\r\n", "REGION CHECK", reply("", 256, 0))
	// A full part of the same position that says something else.
	setup, _ := eu.srv.replicas[0].Keyspace.Regions()
	k := shared.Key{HasOwn: true, Own: shared.Share{Cum: 4, Seq: 1}}
	frame := k.AppendRow(shared.AppendFrame(nil, shared.FrameFull, 0, 0, 1), []byte("n"))
	inc := strconv.FormatUint(setup.Origins[setup.Me].Incarnation, 10)
	if got := callArgs(t, b, "REGION", "WHOLE", "eu", inc, strconv.Itoa(engine.Part([]byte("n"))), string(frame), "eu", inc); !strings.HasPrefix(got, "*4\r\n$7\r\napplied\r\n:1\r\n:1\r\n") {
		t.Errorf("WHOLE: %q", got)
	}
	expect(t, b, "GET n", bulk("4"))
	expect(t, a, "REGION CHECK 20000", reply("", 256, 1), "REGION CHECK", reply("", 256, 0))
	expect(t, b, "GET n", bulk("5"), "GET m", bulk("6"))
	for name, want := range map[string]string{"region_digest_mismatches": "1", "digest_mismatches": "1"} {
		if got := infoOf(t, a, name); got != want {
			t.Errorf("INFO: %s is %s", name, got)
		}
	}
	if lag := lagOf(t, a); lag["digest-mismatches"] != 1 || lag["digests"] < 3*256 {
		t.Errorf("%v", lag)
	}
}
