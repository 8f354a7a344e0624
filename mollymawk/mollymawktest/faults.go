package mollymawktest

import (
	"errors"
	"slices"
	"time"
)

// Faults are ways in which the server misbehaves beyond what Mollymawk always
// does. The zero value is none. Paths are meant as the server sees them: decoded
// and without the query.
type Faults struct {
	// Silent are paths whose requests are read and never answered; "*" is all.
	Silent []string
	// Cut maps a path to the number of bytes of an answer's body after which the
	// connection is closed; "*" is all. For console and download, the client can't
	// tell that from the end.
	Cut map[string]int
	// ShortDownload is the number of bytes after which each download of a block ends,
	// with status 200 and the same end as a whole one, as most downloads of the real
	// Mollymawk do. It may also be Random, HeadOnly or NoAnswer. 0 sends whole blocks.
	ShortDownload int64
	// UpdateDelay is how long an update takes. Like the real one, it goes on when
	// the client has left, and stops when the process ends.
	UpdateDelay time.Duration
	// Storage is the error of every write to the storage; each authenticated
	// request makes one. Empty: writes succeed.
	Storage string
	// Unreachable maps the name of an instance to the reason why it can't be
	// reached.
	Unreachable map[string]string
	// LivelinessBefore and LivelinessAfter are the errors of the checks that an
	// update makes before and after it has deployed the new build. Empty: the checks
	// pass.
	LivelinessBefore, LivelinessAfter string
}

// Values of [Faults.ShortDownload].
const (
	// Random ends each download after a random number of bytes, less than all.
	Random = -1 - iota
	// HeadOnly ends it after the status and the headers.
	HeadOnly
	// NoAnswer closes the connection without an answer.
	NoAnswer
)

// SetFaults replaces all faults; it holds for requests that are read from then on,
// and for later steps of those under way. The caller must not change the maps and
// slices afterwards.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

func (f *Faults) silent(path string) bool {
	return slices.Contains(f.Silent, path) || slices.Contains(f.Silent, "*")
}

// budget is how many bytes of an answer's body may be sent, or -1.
func (f *Faults) budget(path string) int {
	if n, ok := f.Cut[path]; ok {
		return n
	}
	if n, ok := f.Cut["*"]; ok {
		return n
	}
	return -1
}

// persist is the write of the whole storage that comes with every change.
func (s *Server) persist() error {
	if text := s.faults.Load().Storage; text != "" {
		return errors.New(text)
	}
	return nil
}
