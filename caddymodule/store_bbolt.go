package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("a placeholder in the token store path %s has no value; "+
			"write {env.NAME} with a variable that is set, or write the path itself", gate.ConfigWord(s.Path))
	}
	if path == "" {
		path = DefaultStorePath()
	}
	if s.path, err = canonicalPath(path); err != nil {
		err = fmt.Errorf("token store path %s: %w", gate.ConfigWord(path), err)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: give the user that Caddy runs as access to the directory", err)
		}
		return err
	}
	s.logger = ctx.Logger()
	warnAboutPermissions(s.logger, s.path)
	return nil
}

// Key implements StoreModule.
func (s *BoltStore) Key() string { return "bbolt:" + s.path }

// canonicalPath makes a path absolute and resolves symbolic links in the existing part of the
// path, so that different spellings identify the same store. It doesn't clean the path first,
// because cleaning would change the meaning of "link/..".
func canonicalPath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = dir + string(filepath.Separator) + path
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	dir, name := filepath.Split(strings.TrimRight(path, string(filepath.Separator)))
	if name == "" {
		return path, nil
	}
	if dir, err = canonicalPath(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

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
