package clients

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// runGo runs the checks of a client in Go, by name.
func runGo(t *testing.T, has map[string]func(t *testing.T)) { runChecks(t, checks, has) }

// runChecks runs the checks of a list, and demands that there are no others.
func runChecks(t *testing.T, list []string, has map[string]func(t *testing.T)) {
	for _, name := range list {
		if has[name] == nil {
			t.Errorf("missing: %s", name)
			continue
		}
		t.Run(name, has[name])
	}
	if len(has) > len(list) {
		t.Errorf("%d checks, the list has %d", len(has), len(list))
	}
}

// Errors that several checks look for.
const (
	notInteger  = "ERR value is not an integer or out of range"
	outOfMemory = "OOM command not allowed when used memory > 'maxmemory'"
)

// want fails unless the value is the wanted one and there is no error. A wanted
// int stands for the same number of any integer type.
func want(t *testing.T, expected any) func(got any, err error) {
	return func(got any, err error) {
		t.Helper()
		if v := reflect.ValueOf(got); reflect.TypeOf(expected).Kind() == reflect.Int && v.CanInt() {
			got = int(v.Int())
		}
		if err != nil || !reflect.DeepEqual(got, expected) {
			t.Errorf("got %v, %v; expected %v", got, err, expected)
		}
	}
}

// wantText fails unless err is there and its text begins with text.
func wantText(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), text) {
		t.Errorf("got error %v, expected %q", err, text)
	}
}

// between fails unless min < got <= max.
func between(t *testing.T, got time.Duration, err error, min, max time.Duration) {
	t.Helper()
	if err != nil || got <= min || got > max {
		t.Errorf("got %v, %v; expected more than %v and at most %v", got, err, min, max)
	}
}

// untilGone waits until exists answers 0.
func untilGone(t *testing.T, exists func() (int64, error)) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		n, err := exists()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the key is still there")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// bigValue is 1 MiB, the largest argument that is allowed by default.
func bigValue() string {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i * 7 % 251)
	}
	return string(b)
}

// allBytes is every byte once.
func allBytes() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

// stayKeys are the keys that a scan must find.
func stayKeys() []string {
	keys := make([]string, 3000)
	for i := range keys {
		keys[i] = fmt.Sprint("stay:", i)
	}
	slices.Sort(keys)
	return keys
}

// wantScan makes three passes of scan while churn, which writes one round of keys
// that come and go, runs over and over.
func wantScan(t *testing.T, scan func() ([]string, error), churn func(round int) error) {
	stop, started, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		for round := 0; ; round++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := churn(round); err != nil {
				ended <- err
				return
			}
			if round == 15 {
				close(started)
			}
		}
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	for range 3 {
		found, err := scan()
		slices.Sort(found)
		if found = slices.Compact(found); err != nil || !slices.Equal(found, stayKeys()) {
			t.Errorf("%d keys found, %v", len(found), err)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
