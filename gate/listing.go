package gate

import "io"

// Listing describes a route whose response lists resources. A token that is bound to resources
// gets only those that it may act on.
type Listing struct {
	// Type is the type of the listed resources.
	Type string
	// Unnamed are the types of the containers that the response doesn't name. A token that is
	// bound to one of them can't use the route.
	Unnamed []string
	// Filter copies a response with status 200, without the resources whose names keep rejects.
	// It copies everything else byte by byte, and reads the response as a stream. It returns an
	// error for a response in another format, of which the client must not get any more.
	Filter func(to io.Writer, from io.Reader, keep func(name string) bool) error
}
