package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/gate"
)

// ResolvePath returns the canonical form of the configured path of a store's file, so that
// different spellings identify the same file. It replaces placeholders. If the path is empty, it
// returns that of fallback. Errors start with what, which is the path's name.
func ResolvePath(what, path, fallback string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(path, true, true)
	if err != nil {
		return "", fmt.Errorf("a placeholder in the %s %s has no value; "+
			"write {env.NAME} with a variable that is set, or write the path itself", what, gate.ConfigWord(path))
	}
	if resolved == "" {
		resolved = fallback
	}
	canonical, err := canonicalPath(resolved)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", what, gate.ConfigWord(resolved), err)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: give the user that Caddy runs as access to the directory", err)
		}
		return "", err
	}
	return canonical, nil
}

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
