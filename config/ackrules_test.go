package config

import "testing"

func TestAckSettings(t *testing.T) {
	c := Default()
	if err := c.loadFlags([]string{"--ack-rule", "a* local", "--ack-rule", "b* quorum", "c* local"}); err != nil {
		t.Fatal(err)
	}
	if got := Lookup("ack-rule").Get(&c); got != "a* local b* quorum c* local" {
		t.Error(got)
	}
	if err := c.loadEnviron([]string{"QUIPU_ACK_RULE=d* local"}); err != nil || Lookup("ack-rule").Get(&c) != "d* local" {
		t.Error(err, Lookup("ack-rule").Get(&c))
	}
	for name, values := range map[string][]string{
		"ack": {"", "both"}, "ack-rule": {"a*", "a* both"},
		"local-ack-max-pending": {"", "1s", "64mb 1s", "1ms 64mb", "1s 1kb", "2h 64mb", "1s x"}, "local-ack-interval": {"0s", "1us", "11s"},
	} {
		for _, v := range values {
			if err := c.Set(name, v); err == nil {
				t.Errorf("%s %q is accepted", name, v)
			}
		}
	}
	if err := c.Set("local-ack-max-pending", "2s 1mb"); err != nil || Lookup("local-ack-max-pending").Get(&c) != "2s 1048576" {
		t.Error(err, Lookup("local-ack-max-pending").Get(&c))
	}
}
