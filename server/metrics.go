package server

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"quipu/internal/histogram"
	"quipu/internal/throttle"
)

// GET /metrics is what Prometheus reads: the figures of INFO under the names that dashboards for Redis know (metrics_info.go), and what
// only Quipu has (metrics_quipu.go). Nothing is counted for it but five histograms, each once a sync, an
// entry or a batch (replication/figures.go, replication/storage, replica/batch.go). A scrape reads counters, most of which are atomic, and takes what locks it needs one part at a time, so that no
// event loop waits for it longer than for another loop. However many ask, one page is made at a time and given to all of them.

// metricsKept is for how long a page is given again: it bounds the work that those can cause who ask all the time.
const metricsKept = 250 * time.Millisecond

// metricsPage is the page of /metrics.
type metricsPage struct {
	srv      *Server
	registry *prometheus.Registry
	log      throttle.Log

	mu   sync.Mutex // guards what follows, and is held while a page is made
	made time.Time
	text []byte // nobody changes it

	descs map[string]*prometheus.Desc // see collecting
}

func newMetricsPage(srv *Server) *metricsPage {
	m := &metricsPage{srv: srv, registry: prometheus.NewRegistry(), descs: map[string]*prometheus.Desc{}}
	m.log.To = srv.log
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m)
	return m
}

// serve answers users who may run INFO, which says the same. It does so while the node is not ready as well.
func (m *metricsPage) serve(w http.ResponseWriter, r *http.Request) {
	if text := m.srv.mayCall(userOf(r), "info"); text != "" {
		http.Error(w, text, http.StatusForbidden)
		return
	}
	text, err := m.page(time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if http.NewResponseController(w).SetWriteDeadline(time.Now().Add(httpWait)) != nil {
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	_, _ = w.Write(text) // who asked has gone: nobody cares
}

// page is the page as it is now, or was a moment ago.
func (m *metricsPage) page(now time.Time) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.text != nil && now.Sub(m.made) < metricsKept {
		return m.text, nil
	}
	families, err := m.registry.Gather()
	if err != nil { // two metrics with the same labels, or a label that is no text: the others are good
		m.log.Warn("some metrics are left out", "error", err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, err
		}
	}
	if b.Len() == 0 {
		return nil, errors.Join(errors.New("there are no metrics"), err)
	}
	m.made, m.text = now, b.Bytes()
	return m.text, nil
}

// Describe implements prometheus.Collector. Which metrics there are is not known beforehand: that depends on members and commands.
func (m *metricsPage) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metricsPage) Collect(ch chan<- prometheus.Metric) {
	c := collecting{ch, m.descs}
	srv := m.srv
	c.gauge("redis_up", "The node answers.", 1)
	c.gauge("redis_start_time_seconds", "When the node was started, in seconds since 1970.", float64(srv.started.Unix()))
	c.node(srv)
	c.limits(srv)
	// While a snapshot from the leader takes the place of the keyspace, it is not to be looked at.
	if srv.reading.TryRLock() {
		info := newInfoFields(srv)
		c.measured(srv)
		c.origins(srv)
		srv.reading.RUnlock()
		c.info(info)
	}
	if srv.loading.Load() == 0 {
		c.regions(srv)
	}
}

// collecting makes metrics. Their help is in English, their units are those of Prometheus: seconds and bytes.
type collecting struct {
	ch    chan<- prometheus.Metric
	descs map[string]*prometheus.Desc // by name, kept for the next page
}

// label is a label of a metric and its value.
type label struct{ name, value string }

func (c collecting) metric(kind prometheus.ValueType, name, help string, v float64, labels []label) {
	desc, values := c.describe(name, help, labels)
	m, err := prometheus.NewConstMetric(desc, kind, v, values...)
	c.add(desc, m, err)
}

// add gives a metric to the page. One that cannot be is left out of it: values of labels come from other nodes, which may say what is no
// text.
func (c collecting) add(desc *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	}
	c.ch <- m
}

func (c collecting) gauge(name, help string, v float64, labels ...label) {
	c.metric(prometheus.GaugeValue, name, help, v, labels)
}

func (c collecting) counter(name, help string, v float64, labels ...label) {
	c.metric(prometheus.CounterValue, name, help, v, labels)
}

// histogram makes a metric of values of which perUnit make one of Prometheus's unit. It divides, because the quotient is the number nearest
// to the bound, which is short as text: 32 µs are 3.2e-05 s, and by multiplication 3.2000000000000005e-05.
func (c collecting) histogram(name, help string, v histogram.Values, perUnit float64) {
	buckets := map[float64]uint64{}
	for i, bound := range v.Bounds {
		buckets[float64(bound)/perUnit] = v.UpTo[i]
	}
	desc, _ := c.describe(name, help, nil)
	m, err := prometheus.NewConstHistogram(desc, v.Count, float64(v.Sum)/perUnit, buckets)
	c.add(desc, m, err)
}

// describe splits labels. A metric has the same labels each time.
func (c collecting) describe(name, help string, labels []label) (desc *prometheus.Desc, values []string) {
	for _, l := range labels {
		values = append(values, l.value)
	}
	if desc = c.descs[name]; desc == nil {
		var names []string
		for _, l := range labels {
			names = append(names, l.name)
		}
		desc = prometheus.NewDesc(name, help, names, nil)
		c.descs[name] = desc
	}
	return desc, values
}
