package gate

import (
	"io"

	"github.com/mollygate/mollygate/token"
)

// Upload is a streamed request for an Upload route. [Route.AdaptUpload] converts it to the
// form that the backend expects.
type Upload struct {
	// ContentType holds the Content-Type values, one per header line.
	ContentType []string
	// Body streams the body as it arrives.
	Body io.Reader
	// Spool, if not nil, holds everything read from the client's Body so far.
	Spool io.ReaderAt
	// Targets are the resources that the upload acts on, set by [Route.AdaptUpload].
	Targets []token.Resource
	// TargetsErr says why it isn't clear what the upload acts on. It is a *BodyError, or nil.
	// Tokens that aren't bound to resources may send the upload anyway.
	TargetsErr error
}

// AdaptUpload checks an upload and converts it to the form that the backend expects. Before
// the gate contacts the backend, AdaptUpload reads the parts of a form that precede its file
// or, with a Spool, the whole body. AdaptUpload and later reads from u.Body return a
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
