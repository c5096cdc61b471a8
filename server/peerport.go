package server

import (
	"context"
	"errors"
	"log/slog"

	"quipu/config"
	"quipu/replication"
)

// openDirectory locks the data directory, opens the peer port, if the settings name one, and waits until it is known what a
// node without data begins with: with other nodes, that takes until they are there. It fills in rc; incarnation is that of
// the data to come.
func openDirectory(ctx context.Context, cfg *config.Config, log *slog.Logger, rc *replication.Config) (incarnation string, err error) {
	d, err := replication.OpenDirectory(cfg.Dir)
	if err != nil {
		return "", err
	}
	rc.Directory = d
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if cfg.PeerAddr == "" {
		if d.Incarnation() == "" {
			rc.Founding = replication.FoundAlone(d.NodeID())
		}
	} else if rc.Peers, rc.Founding, err = openPeers(ctx, d, cfg, log); err != nil {
		return "", err
	}
	if rc.Founding != nil {
		return rc.Founding.Incarnation, nil
	}
	return d.Incarnation(), nil
}

func openPeers(ctx context.Context, d *replication.Directory, cfg *config.Config, log *slog.Logger) (*replication.Peers, *replication.Founding, error) {
	opt := replication.PeerOptions{
		Address: cfg.PeerAddr, Bind: cfg.PeerBind, ClientAddress: cfg.ClientAddress(), Join: cfg.Join, Voters: cfg.BootstrapExpect,
		Databases: cfg.Databases, CertFile: cfg.PeerCert, KeyFile: cfg.PeerKey, CAFile: cfg.PeerCA, Logger: log,
	}
	p, err := replication.OpenPeers(d, opt)
	if err != nil {
		return nil, nil, err
	}
	f, err := p.Form(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, f, nil
}
