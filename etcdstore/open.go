package etcdstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// Inspect implements caddymodule.StoreModule. It doesn't use the network.
func (s *Store) Inspect() error {
	if _, err := s.tls.config(); err != nil {
		return fmt.Errorf("etcd store: %w", err)
	}
	return inspectReplica(s.replica)
}

// Open implements caddymodule.StoreModule. It doesn't wait for etcd.
func (s *Store) Open() (tokenstore.Backend, error) {
	config := s.config
	var err error
	if config.TLS, err = s.tls.config(); err != nil {
		return nil, fmt.Errorf("etcd store: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("etcd store: finding this machine's name: %w", err)
	}
	replica, err := bolt.OpenReplica(s.replica)
	if err != nil {
		return nil, err
	}
	engine, err := NewEngine(config)
	if err != nil {
		return nil, errors.Join(err, replica.Close())
	}
	backend, err := cluster.Open(cluster.Options{
		Engine:         engine,
		Replica:        replica,
		MaxStaleness:   s.staleness,
		RequestTimeout: config.RequestTimeout,
		RecordKey:      s.recordKey,
		Name:           name,
		Version:        caddymodule.Version(),
		Logger:         s.logger,
	})
	if err != nil {
		return nil, errors.Join(err, engine.Close(), replica.Close())
	}
	return backend, nil
}

// inspectReplica returns an error if the replica can't be opened.
func inspectReplica(path string) error {
	err := bolt.InspectReplica(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Open creates it at the first start
	}
	return err
}
