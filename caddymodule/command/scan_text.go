package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// scanBuffer is how much of a text is read at once, in bytes.
const scanBuffer = 1 << 20

// read searches a text piece by piece. A piece begins with the end of the one
// before, as long as a token could have begun in it.
func (s *scanner) read(name string, from io.Reader) error {
	const overlap = token.SecretTextLength - 1
	if s.chunk == nil {
		s.chunk, s.piece = make([]byte, scanBuffer), make([]byte, 0, scanBuffer+overlap)
	}
	var narrow narrower
	piece, line := s.piece[:0], 1
	for {
		n, err := from.Read(s.chunk)
		piece = narrow.append(piece, s.chunk[:n])
		if err := s.search(name, line, string(piece)); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if name == "-" {
				err = fmt.Errorf("-: %w", err) // other errors name the file
			}
			s.notRead(err)
			return nil
		}
		done := max(0, len(piece)-overlap)
		line += bytes.Count(piece[:done], []byte("\n"))
		piece = append(piece[:0], piece[done:]...)
	}
}

// search reports the tokens in a piece of a text; line is the one that the piece begins
// in. No token is found twice, because the pieces overlap by less than a token.
func (s *scanner) search(name string, line int, text string) error {
	for at := s.prefixes.Find(text); at >= 0; at = s.prefixes.Find(text) {
		line += strings.Count(text[:at], "\n")
		if err := s.report(name, line, text[at:at+token.SecretTextLength]); err != nil {
			return err
		}
		text = text[at+1:] // the next may begin with this one's last characters
	}
	return nil
}

// narrower removes the zero bytes from a text. A token then has the same bytes whether
// it was in UTF-8, UTF-16 or UTF-32, in either byte order and at any offset. Files that
// mix encodings, as appending in PowerShell makes them, need no special case.
//
// In UTF-16, half of another character may look like a line break. In a text with a
// byte order mark these become spaces, so that line numbers are right.
type narrower struct {
	length int64 // of the text so far, in bytes
	last   byte  // the last byte of it
	utf16  bool
}

// append appends the next part of the text to a piece.
func (n *narrower) append(piece, text []byte) []byte {
	if n.length > 1 && !n.utf16 && bytes.IndexByte(text, 0) < 0 {
		return append(piece, text...) // most texts; what they end with doesn't matter
	}
	for _, b := range text {
		if n.length == 1 {
			n.utf16 = n.last == 0xff && b == 0xfe || n.last == 0xfe && b == 0xff
		}
		if b != 0 {
			piece = append(piece, b)
		}
		if n.utf16 && n.length%2 == 1 && n.last != 0 && b != 0 { // both bytes of a character are in the piece
			for i := len(piece) - 2; i < len(piece); i++ {
				if piece[i] == '\n' {
					piece[i] = ' '
				}
			}
		}
		n.last = b
		n.length++
	}
	return piece
}
