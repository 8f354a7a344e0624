package gate

import "io"

// Upload is a streamed request of an Upload route. [Route.AdaptUpload] turns what the client
// sent into what the backend understands.
type Upload struct {
	// ContentType holds the values of the header, one per header line.
	ContentType []string
	// Body streams the body as it arrives.
	Body io.Reader
	// Spool, unless it is nil, holds everything read from the client's Body so far.
	Spool io.ReaderAt
}

// AdaptUpload checks an upload and turns it into what the backend understands. It reads what
// must be known before the gate contacts the backend: the parts of a form that precede its
// file or, with a Spool, the whole body. Its error, and that of later reads from u.Body, is a
// *BodyError or a read error.
func (g *Gate) AdaptUpload(route *Route, u *Upload) error {
	if route.AdaptUpload != nil {
		return route.AdaptUpload(u)
	}
	if u.Spool == nil {
		return nil
	}
	// io.Discard would use its own small buffers.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, u.Body, make([]byte, 32<<10))
	u.Body = io.NewSectionReader(u.Spool, 0, n)
	return err
}
