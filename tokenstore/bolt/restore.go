package bolt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Restore puts a backup in the place of the store at path, which no process may
// have open; one that has is a [*LockedError]. The backup is checked first and
// stays. The store that was there is kept beside the new one, under the name that
// is returned; it is "" if there was none. After an error the old store is still
// there.
func Restore(backup, path string, now time.Time) (kept string, err error) {
	report, err := Check(backup)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("the backup %s can't be opened, or not by this user: copy it to where the user that Caddy runs as may read and write it, and restore that: %w", backup, fs.ErrPermission)
	}
	if err != nil {
		return "", err
	}
	if len(report.Problems) > 0 {
		return "", fmt.Errorf("the backup %s is damaged and not restored: %s", backup, strings.Join(report.Problems, "; "))
	}
	if path, err = realPath(path); err != nil {
		return "", fmt.Errorf("restoring token store: %w", err)
	}
	if same, err := sameFile(backup, path); err != nil || same {
		return "", errors.Join(err, fmt.Errorf("the backup %s is the store itself: name another file", backup))
	}
	release, err := reserve(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	if kept, err = replace(backup, path, now); err != nil {
		return "", fmt.Errorf("restoring token store %s: %w", path, err)
	}
	return kept, nil
}

// realPath follows links, so that the store is replaced and not a link to it.
func realPath(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = path, nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(target)
}

func sameFile(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(first, second), err
}

// reserve makes sure that no process has the store open, and that none opens it
// until it is released. A damaged store, which nobody can open, needs no lock.
func reserve(path string) (release func() error, err error) {
	none := func() error { return nil }
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return none, makeDir(filepath.Dir(path))
	}
	b, err := openAlone(path)
	if _, locked := errors.AsType[*LockedError](err); locked {
		return nil, err
	}
	if err != nil {
		return none, nil
	}
	return b.Close, nil
}

// replace copies the backup beside the store, so that the change of names is all
// that has to succeed in the end.
func replace(backup, path string, now time.Time) (kept string, err error) {
	dir := filepath.Dir(path)
	draft, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	if err := errors.Join(copyFile(draft, backup), draft.Sync(), draft.Close()); err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); err == nil {
		kept = path + now.UTC().Format(".replaced-20060102T150405Z")
		// A link and not a rename, so that the store is never missing.
		if err := os.Link(path, kept); err != nil {
			return "", err
		}
		// What a killed process counted belongs to the store that is replaced.
		for _, suffix := range []string{journalSuffix, countersSuffix} {
			if err := os.Rename(path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
	}
	if err := os.Rename(draft.Name(), path); err != nil {
		return "", err
	}
	return kept, syncDir(dir)
}

func copyFile(to *os.File, name string) error {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, from)
	return err
}
