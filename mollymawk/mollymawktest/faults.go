package mollymawktest

import "slices"

// Faults makes the server fail in ways in which the real Mollymawk fails only sometimes.
// The zero value adds no faults.
type Faults struct {
	// Silent lists decoded paths, without the query, on which the server reads requests but
	// doesn't respond. "*" means all paths.
	Silent []string
	// ShortDownload is the number of bytes after which each block download ends. As with
	// most downloads from the real Mollymawk, the status is 200 and the download looks
	// complete. It can also be Random, HeadOnly or NoAnswer. If it is 0, downloads are
	// complete.
	ShortDownload int64
	// Unreachable maps the name of each unreachable instance to the reason why it can't be
	// reached.
	Unreachable map[string]string
}

// Values of [Faults.ShortDownload].
const (
	// Random ends each download after a random number of bytes, fewer than its size.
	Random = -1 - iota
	// HeadOnly ends each download after the status and the headers.
	HeadOnly
	// NoAnswer closes the connection without a response.
	NoAnswer
)

// SetFaults replaces all faults. The new faults apply to later requests and to the
// remaining steps of requests in progress. The caller must not modify the map or the slice
// afterwards.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

func (f *Faults) silent(path string) bool {
	return slices.Contains(f.Silent, path) || slices.Contains(f.Silent, "*")
}
