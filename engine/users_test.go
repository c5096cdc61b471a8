package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// usersOf shows all users' records.
func usersOf(ks *Keyspace) string {
	var list []string
	ks.View(0, 0, false).EachUser(func(name, record []byte) { list = append(list, fmt.Sprintf("%s=%s", name, record)) })
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestUsers: users are kept beside everything else, in snapshots and checksums, and no key is one.
func TestUsers(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	txn := ks.Txn(0, 1000, false)
	sums := map[uint64]bool{}
	steps := []struct {
		do   func()
		want string
	}{
		{func() {}, ""},
		{func() { txn.StoreUser([]byte("a"), []byte("one")) }, "a=one"},
		{func() { txn.StoreUser([]byte("b"), bytes.Repeat([]byte("x"), 5000)) }, "a=one b=" + strings.Repeat("x", 5000)},
		{func() { txn.StoreUser([]byte("b"), []byte("12")) }, "a=one b=12"},
		{func() { txn.StoreUser(nil, []byte("nobody")) }, "=nobody a=one b=12"},
		{func() { txn.ForgetUser([]byte("a")) }, "=nobody b=12"},
	}
	for i, s := range steps {
		before := ks.UserChanges()
		s.do()
		if got := usersOf(ks); got != s.want {
			t.Errorf("%d: %.100s", i, got)
		}
		if i > 0 && ks.UserChanges() == before {
			t.Errorf("%d: nobody is told", i)
		}
		sum := ks.Checksum(1000)
		if sums[sum] {
			t.Errorf("%d: the checksum is an earlier one", i)
		}
		sums[sum] = true
		if err := ks.Check(); err != nil {
			t.Error(err)
		}
	}
	before := ks.UserChanges()
	txn.ForgetUser([]byte("a"))
	txn.FlushAll()
	if v := ks.View(0, 1000, false); ks.UserChanges() != before || usersOf(ks) != "=nobody b=12" || v.Len() != 0 || string(v.User([]byte("b"))) != "12" || v.User([]byte("a")) != nil {
		t.Errorf("after FLUSHALL: %s", usersOf(ks))
	}
	if v := ks.View(0, 1000, false); v.User(bytes.Repeat([]byte("x"), MaxUserName+1)) != nil {
		t.Error("a name that is too long has a record")
	}
}
