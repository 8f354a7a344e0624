package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// scan searches the named files and directories. It reports and counts unreadable files, so
// the errors that it returns concern only the server or the output.
func (s *scanner) scan(names []string) error {
	for _, name := range names {
		if name == "-" {
			continue
		}
		if path, err := realPath(name); err == nil { // otherwise, it can't be the target of a link
			s.roots = append(s.roots, path)
		}
	}
	for _, name := range names {
		if err := s.named(name); err != nil {
			return err
		}
	}
	return nil
}

// named searches a path from the arguments, regardless of the file type. It follows links.
func (s *scanner) named(name string) error {
	if name == "-" {
		return s.read("-", s.in)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			s.missing++
		}
		s.notRead(err)
		return nil
	case info.IsDir():
		return s.directory(name)
	}
	return s.file(name)
}

// directory searches everything below a directory. It doesn't open irregular files, because
// opening a FIFO may block and reading a device may never end.
func (s *scanner) directory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.notRead(err) // entries contains what was read before the error
	}
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		var err error
		switch mode := entry.Type(); {
		case mode.IsDir():
			err = s.directory(name)
		case mode.IsRegular():
			err = s.file(name)
		case mode&fs.ModeSymlink != 0:
			s.link(name)
		default:
			s.notRead(fmt.Errorf("%s is neither a file nor a directory", name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link reports a link below a directory, unless the link's target is searched anyway. The scan
// never follows such a link, because it may be part of a cycle or lead to an unintended
// directory.
func (s *scanner) link(name string) {
	target, err := realPath(name)
	if err != nil {
		s.notRead(fmt.Errorf("the link %s: %w", name, err))
		return
	}
	for _, root := range s.roots {
		if below, err := filepath.Rel(root, target); err == nil && filepath.IsLocal(below) {
			return
		}
	}
	s.notRead(fmt.Errorf("the link %s points to %s, which is outside the searched paths", name, target))
}

func (s *scanner) file(name string) error {
	file, err := os.Open(name)
	if err != nil {
		s.notRead(err)
		return nil
	}
	defer func() { _ = file.Close() }() // opened for reading only
	return s.read(name, file)
}

// notRead reports a file that was not read in full.
func (s *scanner) notRead(err error) {
	s.unread++
	s.message("%s", printable("not read: "+err.Error()))
}

// realPath returns a file's absolute path with all links resolved.
func realPath(name string) (string, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
