package server

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/config"
	"quipu/internal/redistest"
)

// TestLongestArgument: proto-max-bulk-len may be as high as the longest value that commands build, and no higher.
func TestLongestArgument(t *testing.T) {
	c := config.Default()
	if err := c.Set("proto-max-bulk-len", strconv.Itoa(commands.MaxValueBytes)); err != nil {
		t.Error(err)
	}
	if err := c.Set("proto-max-bulk-len", strconv.Itoa(commands.MaxValueBytes+1)); err == nil {
		t.Error("a longer argument than any value is accepted")
	}
}

func TestConfigCommand(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c,
		"CONFIG GET port", "*2\r\n$4\r\nport\r\n$1\r\n0\r\n",
		"CONFIG GET maxCLIENTS", "*2\r\n$10\r\nmaxCLIENTS\r\n$5\r\n10000\r\n",
		"CONFIG GET nothing", "*0\r\n",
		"CONFIG SET maxclients 50 timeout 7", "+OK\r\n",
		"CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$2\r\n50\r\n",
		"CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n7\r\n",
		"CONFIG SET maxclients 60 timeout x", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - ",
		"CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$2\r\n50\r\n",
		"CONFIG SET maxclients 60 maxclients 70", "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter\r\n",
		"CONFIG SET dir /tmp", "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n",
		"CONFIG SET maxmemory-policy allkeys-lru", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: noeviction\r\n",
		"CONFIG SET read-consistency eventual", "-ERR CONFIG SET failed (possibly related to argument 'read-consistency') - argument(s) must be one of the following: linearizable, leader, local\r\n",
		"CONFIG SET read-consistency leader", "+OK\r\n",
		"CONFIG SET read-consistency Linearizable", "+OK\r\n",
		"CONFIG GET read-consistency", "*2\r\n$16\r\nread-consistency\r\n$12\r\nlinearizable\r\n",
		"CONFIG SET nothing 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'\r\n",
		"CONFIG SET maxclients", "-ERR wrong number of arguments for 'config|set' command\r\n",
		"CONFIG SET max-command-bytes 65536", "-ERR CONFIG SET failed - max-command-bytes (65536) is below",
		"CONFIG RESETSTAT", "+OK\r\n",
		"CONFIG REWRITE", "-ERR The server is running without a config file\r\n",
		"HELLO 3", "%7",
		"CONFIG GET save appendonly", "%2",
	)
	// A limit that is lowered takes effect on connections that are there.
	expect(t, c, "CONFIG SET proto-max-bulk-len 1024", "+OK\r\n")
	checkReply(t, "long argument", callArgs(t, c, "ECHO", strings.Repeat("x", 1025)), "-ERR Protocol error: invalid bulk length\r\n")
}

// TestConfigIsThatOfRedis compares what CONFIG SET and GET say about settings that both servers have.
func TestConfigIsThatOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, line := range []string{
			"maxclients abc", "DATABASES 5", "Dir /", "maxclients 1.5", "maxclients 07", "maxclients +7", "MaxClients x", "timeout abc", "timeout -1",
			"timeout 2147483648", "timeout 2147483647", "timeout 7", "timeout 0x10", "tcp-keepalive -1", "tcp-keepalive 60s", "maxmemory abc",
			"maxmemory -1", "maxmemory 1.5gb", "maxmemory 10%", "maxmemory 1tb", "maxmemory 100MB", "maxmemory 5mbx", "maxmemory 0",
			"protected-mode maybe", "protected-mode 1", "protected-mode NO", "loglevel LOUD", "loglevel Verbose",
			"databases 5", "databases x", "dir /", "unixsocket /x", "unixsocketperm 700", "cluster-enabled yes", "enable-debug-command yes",
			"proto-max-bulk-len x", "nosuch 1", "NoSuch 1", "nosuch", "timeout 1 nosuch 2", "nosuch 2 timeout 1", "timeout 1 maxclients",
			"timeout 1 timeout 2", "timeout x TIMEOUT y", "timeout x databases 1", "databases 1 timeout x", "databases 1 nosuch 2", "dir / databases 1",
			"timeout 3 maxmemory x", "timeout 4 maxmemory 1000", "timeout 0 maxmemory 0 loglevel notice protected-mode yes", "appendonly yes",
			"notify-keyspace-events", "slave-read-only yes", "replica-read-only YES", "slowlog-log-slower-than -1", "latency-monitor-threshold 0",
		} {
			p.same(p.do2(append([]string{"CONFIG", "SET"}, strings.Fields(line)...)...))
		}
		for _, line := range []string{
			"timeout", "TimeOut", "timeout tcp-keepalive", "timeout timeout", "timeout TIMEOUT", "TIMEOUT timeou*", "timeou* TIMEOUT",
			"time\\out", "timeou\\t", "[t]imeout", "timeou?", "nosuch", "nosuch timeout", "", "databases maxmemory-policy", "MAXMEMORY", "save",
			"replica-read-only slave-read-only", "notify-keyspace-events", "cluster-enabled",
		} {
			ours, redis := p.do(append([]string{"CONFIG", "GET"}, strings.Split(line, " ")...)...)
			if !slices.Equal(sortedPairs(ours), sortedPairs(redis)) || ours.Type != redis.Type {
				t.Errorf("CONFIG GET %s: %v, in Redis %v", line, ours, redis)
			}
		}
	})
}

func sortedPairs(m redistest.Reply) (list []string) {
	for i := 0; i+1 < len(m.Elems); i += 2 {
		list = append(list, m.Elems[i].Text+" "+m.Elems[i+1].Text)
	}
	slices.Sort(list)
	return list
}
