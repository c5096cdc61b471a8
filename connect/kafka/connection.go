package kafka

import (
	"crypto/tls"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"quipu/connect/config"
)

// connection is how the brokers of a source are reached.
func connection(src *config.Source) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(src.Brokers...), kgo.ClientID("quipu-connect")}
	if src.TLS {
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if src.User != "" {
		pass, err := src.Password.Resolve()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(plain.Auth{User: src.User, Pass: pass}.AsMechanism()))
	}
	return opts, nil
}
