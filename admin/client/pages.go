package client

import (
	"fmt"
	"iter"
)

// pages goes from the page at a cursor to the last. fetch returns a page and the
// cursor of the next, which is empty on the last. It ends after the first error. The
// error for a server that leads back to the same page names what is read.
func pages[P any](what, cursor string, fetch func(cursor string) (page P, next string, err error)) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for {
			page, next, err := fetch(cursor)
			if err == nil && next != "" && next == cursor {
				err = fmt.Errorf("the server's %s doesn't come to an end: its cursor leads back to the same page", what)
			}
			if err != nil {
				var none P
				yield(none, err)
				return
			}
			if !yield(page, nil) || next == "" {
				return
			}
			cursor = next
		}
	}
}
