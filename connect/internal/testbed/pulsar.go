package testbed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Pulsar is Apache Pulsar, standalone, of a test. Its data survives Kill.
type Pulsar struct {
	*Process
	Addr  string // pulsar://host:port
	Admin string // http://host:port
}

// StartPulsar starts Apache Pulsar with empty data, and waits until it serves.
func StartPulsar(tb testing.TB) *Pulsar {
	tb.Helper()
	script := startScript(tb, "pulsar", "`make test-pulsar`")
	ports := freePorts(tb, 3)
	p := NewProcess(tb, script, "--port", strconv.Itoa(ports[0]), "--admin-port", strconv.Itoa(ports[1]),
		"--bookie-port", strconv.Itoa(ports[2]), "--dir", tb.TempDir())
	p.name = "pulsar"
	b := &Pulsar{Process: p, Addr: "pulsar://" + loopback(ports[0]), Admin: "http://" + loopback(ports[1])}
	b.Start()
	return b
}

// Start starts the broker again on its data and ports, and waits until it serves.
func (b *Pulsar) Start() {
	b.tb.Helper()
	b.Process.Start()
	b.await(brokerLimit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		list, err := b.admin(ctx, http.MethodGet, "namespaces/public", "")
		if err == nil && !strings.Contains(list, `"public/default"`) {
			err = fmt.Errorf("there is no namespace public/default: %s", list)
		}
		return err
	})
}

// CreateTopic makes the topic persistent://public/default/name: with that many partitions, or without any if 0.
func (b *Pulsar) CreateTopic(tb testing.TB, name string, partitions int) {
	tb.Helper()
	if partitions == 0 {
		b.do(tb, http.MethodPut, "persistent/public/default/"+name, "")
		return
	}
	b.do(tb, http.MethodPut, "persistent/public/default/"+name+"/partitions", strconv.Itoa(partitions))
}

// DeleteTopic deletes a topic that CreateTopic made with as many partitions, whoever uses it.
func (b *Pulsar) DeleteTopic(tb testing.TB, name string, partitions int) {
	tb.Helper()
	path := "persistent/public/default/" + name
	if partitions > 0 {
		path += "/partitions"
	}
	b.do(tb, http.MethodDelete, path+"?force=true", "")
}

// do is a request to the admin port that must succeed.
func (b *Pulsar) do(tb testing.TB, method, path, body string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), adminLimit)
	defer cancel()
	if _, err := b.admin(ctx, method, path, body); err != nil {
		tb.Fatal(err)
	}
}

// admin is a request to the admin port, below /admin/v2, and returns the answer.
func (b *Pulsar) admin(ctx context.Context, method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.Admin+"/admin/v2/"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answers %s: %s", method, path, res.Status, answer)
	}
	return string(answer), err
}
