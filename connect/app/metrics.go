package app

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quipu/connect/count"
	"quipu/connect/sink"
)

// metrics are what Prometheus reads, at the setting http.
type metrics struct {
	registry *prometheus.Registry
	seconds  prometheus.Histogram
	written  prometheus.Histogram
	board    atomic.Pointer[count.Board]
	sinks    atomic.Pointer[[]*sink.Sink]
}

var (
	labels      = []string{"partition"}
	descRecords = prometheus.NewDesc("quipu_connect_records_total", "Records by what became of them, since counting of the partition began.",
		[]string{"partition", "outcome"}, nil)
	descLag     = prometheus.NewDesc("quipu_connect_lag", "Offsets (of a file: bytes) that are still to be counted.", labels, nil)
	descDone    = prometheus.NewDesc("quipu_connect_position", "How far the partition is counted: offset, of a file bytes.", labels, nil)
	descTxns    = prometheus.NewDesc("quipu_connect_transactions_total", "Transactions applied by this process.", labels, nil)
	descRefused = prometheus.NewDesc("quipu_connect_refused_commands_total", "Commands without effect, by this process.", labels, nil)
	descLate    = prometheus.NewDesc("quipu_connect_late_commands_total", "Commands left out because their bucket has expired.", labels, nil)
	descOff     = prometheus.NewDesc("quipu_connect_identity_off", "By how much records and offsets do not add up; never anything but 0.", labels, nil)
	descState   = prometheus.NewDesc("quipu_connect_state", "1 for the state that the partition is in.", []string{"partition", "state"}, nil)
)

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "quipu_connect_transaction_seconds", Help: "Time of transactions, with all repetitions.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	})
	m.written = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "quipu_connect_sink_transaction_seconds", Help: "Time of transactions in databases.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
	})
	m.registry.MustRegister(m.seconds, m.written, m)
	return m
}

func (m *metrics) took(d time.Duration) { m.seconds.Observe(d.Seconds()) }

func (m *metrics) wrote(d time.Duration) { m.written.Observe(d.Seconds()) }

// use has the metrics of a board and of sinks shown.
func (m *metrics) use(b *count.Board, sinks []*sink.Sink) {
	m.board.Store(b)
	m.sinks.Store(&sinks)
}

// Describe implements prometheus.Collector: which partitions there are is not known beforehand.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	board := m.board.Load()
	if board == nil {
		return
	}
	for _, s := range *m.sinks.Load() {
		collectSink(ch, s.Report.Snapshot())
	}
	for _, s := range board.Snapshots() {
		ch <- prometheus.MustNewConstMetric(descState, prometheus.GaugeValue, 1, s.Name, string(s.State))
		if !s.Partition() {
			continue
		}
		one := func(d *prometheus.Desc, kind prometheus.ValueType, v int64, more ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, float64(v), append([]string{s.Name}, more...)...)
		}
		for outcome, n := range s.Position.Outcomes() {
			one(descRecords, prometheus.CounterValue, n, outcome)
		}
		one(descLag, prometheus.GaugeValue, s.Lag())
		one(descDone, prometheus.GaugeValue, s.Done)
		one(descTxns, prometheus.CounterValue, s.Transactions)
		one(descRefused, prometheus.CounterValue, s.RefusedCommands)
		one(descLate, prometheus.CounterValue, s.Position.Late)
		one(descOff, prometheus.GaugeValue, s.Off())
	}
}

// serve answers Prometheus at an address; "": it does not.
func (m *metrics) serve(address string, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: httpLimit, WriteTimeout: httpLimit, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	}()
	return func() { _ = server.Close() }, nil
}

const httpLimit = 10 * time.Second
