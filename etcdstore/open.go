package etcdstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

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
	options := s.fixed()
	opened.Store(s.Key(), &options)
	return &openBackend{Backend: backend, key: s.Key(), options: &options}, nil
}

// fixedOptions are the options that take effect when the store is opened. A reload that changes
// them doesn't open the store again, because they are not part of its key.
type fixedOptions struct {
	username, password, recordKey string
	tls                           TLS
	requestTimeout, staleness     time.Duration
}

func (s *Store) fixed() fixedOptions {
	options := fixedOptions{username: s.config.Username, password: s.config.Password, recordKey: string(s.recordKey),
		requestTimeout: s.config.RequestTimeout, staleness: s.staleness}
	if s.tls != nil {
		options.tls = *s.tls
	}
	return options
}

// opened holds the *fixedOptions of this process's open stores by key.
var opened sync.Map

// warnIfOpen logs a warning if this process has the store open with other options.
func (s *Store) warnIfOpen() {
	value, ok := opened.Load(s.Key())
	if !ok {
		return
	}
	open, configured := *value.(*fixedOptions), s.fixed()
	var changed []string
	for _, option := range []struct {
		name string
		same bool
	}{
		{"max_staleness", open.staleness == configured.staleness},
		{"password", open.password == configured.password},
		{"record_key", open.recordKey == configured.recordKey},
		{"request_timeout", open.requestTimeout == configured.requestTimeout},
		{"tls", open.tls == configured.tls},
		{"username", open.username == configured.username},
	} {
		if !option.same {
			changed = append(changed, option.name)
		}
	}
	if len(changed) > 0 {
		s.logger.Warn("changed options of the etcd store have no effect until Caddy is restarted",
			zap.Strings("options", changed))
	}
}

// openBackend is an open backend, whose options are in opened.
type openBackend struct {
	*cluster.Backend
	key     string
	options *fixedOptions
}

// Close implements [tokenstore.Backend].
func (b *openBackend) Close() error {
	opened.CompareAndDelete(b.key, b.options)
	return b.Backend.Close()
}

// inspectReplica returns an error if the replica can't be opened.
func inspectReplica(path string) error {
	err := bolt.InspectReplica(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Open creates it at the first start
	}
	return err
}
