package gate

import "io"

// Upload is a request of an Upload route as its backend is to get it.
// [Route.AdaptUpload] changes what the client sent to what the backend understands.
type Upload struct {
	// ContentType is the values of the header, a value each line.
	ContentType []string
	// Body is read while it arrives.
	Body io.Reader
	// Spool, unless it is nil, holds all that was read of the client's Body, from its
	// first byte.
	Spool io.ReaderAt
}

// AdaptUpload checks an upload and makes of it what the backend understands. It reads what
// has to be known before the backend is contacted: what comes before a form's file, or the
// whole body if there is a Spool. Its error, and that of later reads of u.Body, is a
// *BodyError or one of reading.
func (g *Gate) AdaptUpload(route *Route, u *Upload) error {
	if route.AdaptUpload != nil {
		return route.AdaptUpload(u)
	}
	if u.Spool == nil {
		return nil
	}
	// io.Discard itself would take small pieces
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, u.Body, make([]byte, 32<<10))
	u.Body = io.NewSectionReader(u.Spool, 0, n)
	return err
}
