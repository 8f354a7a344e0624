package caddymodule

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"
)

// warnOfAccess logs a warning if users other than Caddy's may read or change the file of a
// store, or replace it. A user who changes it can make tokens for themselves. A file that isn't
// there yet will be made with mode 0600.
func warnOfAccess(logger *zap.Logger, path string) {
	if runtime.GOOS == "windows" {
		return // its modes don't tell who may do what
	}
	const (
		othersRead, othersWrite = 0o044, 0o022
		anyoneWrites            = 0o002
	)
	if mode, ok := permissions(path); ok && mode&(othersRead|othersWrite) != 0 {
		message := "other users may read the token store, which holds digests of tokens"
		if mode&othersWrite != 0 {
			message = "other users may change the token store, and so give themselves tokens"
		}
		logger.Warn(message, zap.String("file", path), zap.Stringer("mode", mode), zap.String("fix", "chmod 600 "+path))
	}
	dir := filepath.Dir(path)
	if mode, ok := permissions(dir); ok && mode&anyoneWrites != 0 {
		message := "every user may write to the directory of the token store, and so replace its files"
		if mode&fs.ModeSticky != 0 {
			message = "every user may write to the directory of the token store, and so make its files before Caddy does"
		}
		logger.Warn(message,
			zap.String("directory", dir), zap.Stringer("mode", mode),
			zap.String("fix", "chmod o-w "+dir+", or keep the store elsewhere"))
	}
}

// permissions returns the permissions of what is at a path, if something is.
func permissions(path string) (mode fs.FileMode, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSticky), true
}
