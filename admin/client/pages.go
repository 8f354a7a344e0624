package client

import (
	"fmt"
	"iter"
)

// pages returns an iterator over the pages from cursor to the last page. fetch returns a
// page and the cursor of the next page, or "" after the last page. The iterator stops after
// the first error. If a page's next cursor equals its own cursor, the iterator returns an
// error that refers to the list by the name given in what.
func pages[P any](what, cursor string, fetch func(cursor string) (page P, next string, err error)) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for {
			page, next, err := fetch(cursor)
			if err == nil && next != "" && next == cursor {
				err = fmt.Errorf("the server's %s never ends: its next cursor is the current one", what)
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
