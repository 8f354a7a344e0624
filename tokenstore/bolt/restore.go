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

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Restore puts a backup in the place of the store at path, which no process may have
// open; one that has is a [*LockedError]. The backup is checked first and stays as it is.
// The new file has the owner and the mode of the one that was there. That one is kept next
// to it, under the name that is returned; it is "" if there was none. After an error the
// old store is still there.
func Restore(backup, path string, now time.Time) (kept string, err error) {
	report, err := Check(backup)
	if errors.Is(err, fs.ErrPermission) {
		return "",
			fmt.Errorf(
				"the backup %s can't be opened, or not by this user: copy it to where the user that Caddy runs as may read and write it, and restore that: %w", backup, fs.ErrPermission)
	}
	if err != nil {
		return "", err
	}
	if len(report.Problems) > 0 {
		return "",
			fmt.Errorf(
				"the backup %s is damaged and not restored; take another one, or first run caddy api-token repair %s: %s", backup, backup, strings.Join(report.Problems, "; "))
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
	if kept, err = restore(backup, path, now); err != nil {
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

// reserve makes sure that no process has the store open, whatever is in the file, and that
// none opens it until it is released.
func reserve(path string) (release func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, makeDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(&LockedError{Path: path, PID: lockHolder(path)}, file.Close())
	}
	return file.Close, nil
}

// restore rebuilds the backup next to the store, so that the change of names is all that
// has to succeed in the end.
func restore(backup, path string, now time.Time) (kept string, err error) {
	file, err := os.Open(backup)
	if err != nil {
		return "", err
	}
	defer file.Close()
	structure, err := verify(file)
	if err != nil {
		return "", err
	}
	draft, _, err := rebuildNextTo(path, structure)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(draft) }() // unless it has been renamed
	return replaceFile(draft, path, now)
}

// replaceFile puts a new file in the place of a store, and keeps the old one and what
// belongs to it.
func replaceFile(draft, path string, now time.Time) (kept string, err error) {
	name := path + now.UTC().Format(".replaced-20060102T150405Z")
	if _, err := os.Lstat(path); err == nil {
		if kept, err = keepAside(path, ".replaced-", now); err != nil {
			return "", err
		}
		name = kept
	}
	// What a killed process counted belongs to the store that is replaced.
	for _, suffix := range []string{journalSuffix, countersSuffix} {
		if err := os.Rename(path+suffix, name+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := os.Rename(draft, path); err != nil {
		return "", err
	}
	return kept, syncDir(filepath.Dir(path))
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

// Repaired is what [Repair] did.
type Repaired struct {
	// Faults say what was wrong; none is a sound store, which is left as it is.
	Faults []string
	// Lost is what could not be read.
	Lost Losses
	// Kept is the name under which the damaged file is kept.
	Kept string
}

// Repair rebuilds the store at path, which no process may have open, if anything is wrong
// with it. The damaged file is kept. Unlike [Open] it accepts one valid meta page,
// though the last change may then be missing.
func Repair(path string, now time.Time) (done Repaired, err error) {
	if path, err = realPath(path); err != nil {
		return done, fmt.Errorf("repairing token store: %w", err)
	}
	if err := inspectPath(path); err != nil {
		return done, err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return done, fmt.Errorf("repairing token store: %w", err)
	}
	defer file.Close()
	if err := lockFile(file); err != nil {
		return done, &LockedError{Path: path, PID: lockHolder(path)}
	}
	info, err := file.Stat()
	if err != nil {
		return done, fmt.Errorf("repairing token store: %w", err)
	}
	content, missing, err := boltfile.ReadDamaged(file, info.Size())
	if errors.Is(err, boltfile.ErrDamaged) {
		return done, fmt.Errorf("token store %s: the file is %w, so nothing in it can be found; restore a backup",
			path, err)
	}
	if err != nil {
		return done, fmt.Errorf("token store %s: %w", path, fileError(err))
	}
	if missing != nil {
		done.Faults = append(done.Faults, missing.Error())
	}
	structure := content.Verify(rootAge(content))
	done.Faults = append(done.Faults, structureFaults(structure)...)
	draft, lost, err := rebuildNextTo(path, structure)
	if err != nil {
		return done, fmt.Errorf("repairing token store %s: %w", path, err)
	}
	defer func() { _ = os.Remove(draft) }() // unless it has been renamed
	if done.Lost = lost; len(done.Faults) == 0 {
		if len(lost.Records) == 0 {
			return done, nil
		}
		done.Faults = append(done.Faults, "records are damaged")
	}
	if done.Kept, err = keepAside(path, damagedSuffix, now); err != nil {
		return done, fmt.Errorf("repairing token store %s: %w", path, err)
	}
	if err := os.Rename(draft, path); err != nil {
		return done, fmt.Errorf("repairing token store %s: %w", path, err)
	}
	return done, syncDir(filepath.Dir(path))
}
