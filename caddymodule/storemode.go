package caddymodule

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"
)

// WarnAboutPermissions logs a warning if users other than the one that Caddy runs as can read,
// change or replace a store's file. A user who can change the file can create tokens. If the
// file doesn't exist yet, Caddy will create it with mode 0600.
func WarnAboutPermissions(logger *zap.Logger, path string) {
	if runtime.GOOS == "windows" {
		return // file modes don't reflect permissions on Windows
	}
	const (
		othersRead, othersWrite = 0o044, 0o022
		anyoneWrites            = 0o002
	)
	if mode, ok := permissions(path); ok && mode&(othersRead|othersWrite) != 0 {
		message := "other users may read the token store, which contains token digests"
		if mode&othersWrite != 0 {
			message = "other users may change the token store, which lets them create tokens"
		}
		logger.Warn(message, zap.String("file", path), zap.Stringer("mode", mode), zap.String("fix", "chmod 600 "+path))
	}
	dir := filepath.Dir(path)
	if mode, ok := permissions(dir); ok && mode&anyoneWrites != 0 {
		message := "all users may write to the token store's directory, which lets them replace its files"
		if mode&fs.ModeSticky != 0 {
			message = "all users may write to the token store's directory, " +
				"which lets them create its files before Caddy does"
		}
		logger.Warn(message,
			zap.String("directory", dir), zap.Stringer("mode", mode),
			zap.String("fix", "chmod o-w "+dir+", or move the store to another directory"))
	}
}

// permissions returns the mode of the file at path and reports whether the mode could be read.
func permissions(path string) (mode fs.FileMode, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSticky), true
}
