package mollymawktest

import "slices"

// Faults are ways in which the server misbehaves beyond what Mollymawk always
// does. The zero value is none. Paths are meant as the server sees them: decoded
// and without the query.
type Faults struct {
	// Silent are paths whose requests are read and never answered; "*" is all.
	Silent []string
	// ShortDownload is the number of bytes after which each download of a block ends,
	// with status 200 and the same end as a whole one, as most downloads of the real
	// Mollymawk do. It may also be Random, HeadOnly or NoAnswer. 0 sends whole blocks.
	ShortDownload int64
	// Unreachable maps the name of an instance to the reason why it can't be
	// reached.
	Unreachable map[string]string
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
