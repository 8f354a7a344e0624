package mollymawktest

import "slices"

// Faults makes the server misbehave in addition to what Mollymawk always does. The zero
// value adds no faults.
type Faults struct {
	// Silent lists paths, decoded and without the query, whose requests are read but get
	// no response. "*" stands for all paths.
	Silent []string
	// ShortDownload is the number of bytes after which each download of a block ends. As
	// with most downloads from the real Mollymawk, the status is 200 and the end looks like
	// that of a complete one. It may also be Random, HeadOnly or NoAnswer. 0 sends complete
	// blocks.
	ShortDownload int64
	// Unreachable maps the names of unreachable instances to the reason.
	Unreachable map[string]string
}

// Values of [Faults.ShortDownload].
const (
	// Random ends each download after a random number of bytes, less than its size.
	Random = -1 - iota
	// HeadOnly ends each download after the status and the headers.
	HeadOnly
	// NoAnswer closes the connection without a response.
	NoAnswer
)

// SetFaults replaces all faults. They apply to later requests and to later steps of
// requests in progress. The caller must not change the map and slice afterwards.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

func (f *Faults) silent(path string) bool {
	return slices.Contains(f.Silent, path) || slices.Contains(f.Silent, "*")
}
