package caddymodule

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

func init() {
	caddy.RegisterModule(new(BoltStore))
}

// BoltStore stores tokens in a local file, an embedded bbolt database. Only one process at a
// time can open the file.
type BoltStore struct {
	// The database file. It is created if it doesn't exist. Empty files and other programs'
	// files are refused. Placeholders are replaced. Default: `mollygate/tokens.db` in Caddy's
	// data directory.
	Path string `json:"path,omitempty"`

	path   string // canonical
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*BoltStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "api_tokens.stores.bbolt",
		New: func() caddy.Module { return new(BoltStore) },
	}
}

// Provision resolves the path.
func (s *BoltStore) Provision(ctx caddy.Context) error {
	var err error
	if s.path, err = ResolvePath("token store path", s.Path, DefaultStorePath()); err != nil {
		return err
	}
	s.logger = ctx.Logger()
	WarnAboutPermissions(s.logger, s.path)
	return nil
}

// Key implements StoreModule.
func (s *BoltStore) Key() string { return "bbolt:" + s.path }

// Inspect implements StoreModule.
func (s *BoltStore) Inspect() error {
	err := bolt.Inspect(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Open creates it at the first start
	}
	return err
}

// Open implements StoreModule.
func (s *BoltStore) Open() (tokenstore.Backend, error) {
	_, missing := os.Lstat(s.path)
	backend, err := bolt.Open(s.path)
	if err == nil && errors.Is(missing, fs.ErrNotExist) {
		s.logger.Info("created a new token store", zap.String("path", s.path))
	}
	return backend, err
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	bbolt [<path>]
func (s *BoltStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.Errf("the bbolt store takes only one path; remove %s", gate.ConfigWord(d.Val()))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("the bbolt store has no options; remove %s", gate.ConfigWord(d.Val()))
	}
	return nil
}

// DefaultStorePath returns the default path of the token store.
func DefaultStorePath() string { return filepath.Join(caddy.AppDataDir(), "mollygate", "tokens.db") }

// Interface guards.
var (
	_ caddy.Module          = (*BoltStore)(nil)
	_ caddy.Provisioner     = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler = (*BoltStore)(nil)
	_ StoreModule           = (*BoltStore)(nil)
)
