package bolt

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Restore replaces the store at path with a backup, which it checks first and doesn't change.
// If another process has the store open, Restore returns a [*LockedError]. The new file has
// the old file's owner and mode. Restore keeps the old file in the same directory and returns
// its new path, or "" if there was no store. If Restore fails, the old store remains at path.
// Neither file may be a replica.
func Restore(backup, path string, now time.Time) (kept string, err error) {
	// Return only one error, because both may be the same file.
	if err := cmp.Or(refuseReplica(backup), refuseReplica(path)); err != nil {
		return "", err
	}
	report, err := Check(backup)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("the backup %s can't be opened by this user: "+
			"copy it to a place where the user that Caddy runs as can read and write it, and restore the copy: %w",
			backup, fs.ErrPermission)
	}
	if err != nil {
		return "", err
	}
	if len(report.Problems) > 0 {
		return "", fmt.Errorf("the backup %s is damaged and was not restored; "+
			"use another one, or first run caddy api-token repair %s: %s",
			backup, backup, strings.Join(report.Problems, "; "))
	}
	if path, err = realPath(path); err != nil {
		return "", fmt.Errorf("restoring token store: %w", err)
	}
	switch same, err := sameFile(backup, path); {
	case err != nil:
		return "", fmt.Errorf("restoring token store: %w", err)
	case same:
		return "", fmt.Errorf("the backup %s is the store itself: name another file", backup)
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

// CheckBackup returns what a backup contains. If it can't be restored, the error is a
// [*tokenstore.BackupError]. The file must not be in use. CheckBackup doesn't change it.
func CheckBackup(path string) (tokenstore.Restored, error) {
	if refuseReplica(path) != nil {
		return tokenstore.Restored{}, &tokenstore.BackupError{
			Reason: "it is a gate's copy of a shared store, not a backup"}
	}
	report, err := Check(path)
	if _, failed := errors.AsType[syscall.Errno](err); failed {
		return tokenstore.Restored{}, fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	}
	if err != nil {
		return tokenstore.Restored{}, &tokenstore.BackupError{Reason: reasonOf(path, err)}
	}
	if len(report.Problems) > 0 {
		return tokenstore.Restored{}, &tokenstore.BackupError{Reason: report.summary()}
	}
	return tokenstore.Restored{Tokens: report.Tokens, AuditEntries: report.AuditEntries}, nil
}

// reasonOf returns what is wrong with a backup according to an error from Check, without the path
// and without advice for stores.
func reasonOf(path string, err error) string {
	if errors.Is(err, errNotStore) {
		return "it is not a token store"
	}
	reason := err.Error()
	if _, after, ok := strings.Cut(reason, path+": "); ok {
		reason = after
	}
	for _, advice := range []string{"; run caddy", ": restore a backup"} {
		reason, _, _ = strings.Cut(reason, advice)
	}
	return reason
}

// summary describes the first problems in one sentence.
func (r *Report) summary() string {
	const most = 3
	text := strings.Join(r.Problems[:min(most, len(r.Problems))], "; ")
	if more := len(r.Problems) + r.More - most; more > 0 {
		text += fmt.Sprintf("; and %d more problems", more)
	}
	return text
}

// refuseReplica returns an error if the file at path is a replica.
func refuseReplica(path string) error {
	if unknownFormat.inspectPath(path) != nil {
		return nil // reported later
	}
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	content, err := boltfile.ReadShared(file)
	if err == nil && formatOf(content) == replicaFormat {
		return fmt.Errorf("restoring token store: %s: %w", path, errReplica)
	}
	return nil
}

// realPath resolves symbolic links, so Restore replaces the store itself and not a link to it.
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

// reserve locks the store at path, whatever the file contains, until release is called. If
// there is no file, it creates the directory.
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

// restore rebuilds the backup into a draft next to the store, so the final step consists only
// of renames.
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
	draft, _, err := rebuildNextTo(path, structure, storeFormat, false)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(draft) }() // unless it has been renamed
	return replaceFile(draft, path, now)
}

// replaceFile renames draft to path. It keeps the old store and its journal under other names.
func replaceFile(draft, path string, now time.Time) (kept string, err error) {
	name := path + now.UTC().Format(".replaced-20060102T150405Z")
	if _, err := os.Lstat(path); err == nil {
		if kept, err = preserve(path, ".replaced-", now); err != nil {
			return "", err
		}
		name = kept
	}
	// Counts left by a killed process belong to the old store.
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

// Repaired is the result of [Repair].
type Repaired struct {
	// Faults describes the damage. It is empty for a sound store, which Repair doesn't change.
	Faults []string
	// Lost lists the records that could not be read.
	Lost Losses
	// Kept is the path of the damaged file.
	Kept string
}

// Repair rebuilds the store at path if it is damaged, and keeps the damaged file. If another
// process has the store open, Repair returns a [*LockedError]. Unlike [Open], Repair accepts a
// file with only one valid meta page, even though the last change may be missing.
func Repair(path string, now time.Time) (done Repaired, err error) {
	if path, err = realPath(path); err != nil {
		return done, fmt.Errorf("repairing token store: %w", err)
	}
	if err := unknownFormat.inspectPath(path); err != nil {
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
		return done, fmt.Errorf("token store %s: the file is %w and can't be repaired; restore a backup",
			path, err)
	}
	if err != nil {
		return done, fmt.Errorf("token store %s: %w", path, fileError(err))
	}
	if missing != nil {
		done.Faults = append(done.Faults, missing.Error())
	}
	structure := content.Verify(rootAge(content))
	f := salvagedFormat(structure)
	done.Faults = append(done.Faults, f.structureFaults(structure)...)
	draft, lost, err := rebuildNextTo(path, structure, f, len(done.Faults) > 0)
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
	if done.Kept, err = preserve(path, damagedSuffix, now); err != nil {
		return done, fmt.Errorf("repairing token store %s: %w", path, err)
	}
	if err := os.Rename(draft, path); err != nil {
		return done, fmt.Errorf("repairing token store %s: %w", path, err)
	}
	return done, syncDir(filepath.Dir(path))
}
