package mollymawk

import (
	"errors"
	"io"
)

// maxListed is the maximum size of a unikernel in the list, in bytes.
const maxListed = 1 << 20

var errListedTooLarge = errors.New("the response has a value larger than 1 MiB")

// listingInput keeps the bytes that have been read until they are taken.
type listingInput struct {
	reader io.Reader
	// kept are the bytes from offset start to offset end.
	kept       []byte
	start, end int64
}

// Read implements io.Reader. It fails when maxListed bytes have been read but not taken.
func (l *listingInput) Read(b []byte) (int, error) {
	space := maxListed - len(l.kept)
	if space == 0 {
		return 0, errListedTooLarge
	}
	n, err := l.reader.Read(b[:min(len(b), space)])
	l.kept = append(l.kept, b[:n]...)
	l.end += int64(n)
	return n, err
}

// take returns the bytes up to an offset that haven't been taken yet.
func (l *listingInput) take(end int64) []byte {
	n := end - l.start
	taken := l.kept[:n]
	l.kept, l.start = l.kept[n:], end
	return taken
}

var _ io.Reader = (*listingInput)(nil)
