package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// scanBuffer is the size of the read buffer, in bytes.
const scanBuffer = 1 << 20

// read searches text in pieces. Consecutive pieces overlap, so that no token at a boundary is
// missed.
func (s *scanner) read(name string, from io.Reader) error {
	const overlap = token.SecretTextLength - 1
	if s.chunk == nil {
		s.chunk, s.piece = make([]byte, scanBuffer), make([]byte, 0, scanBuffer+overlap)
	}
	var narrow narrower
	piece, line, column := s.piece[:0], 1, 1
	for {
		n, err := from.Read(s.chunk)
		piece = narrow.append(piece, s.chunk[:n])
		text := string(piece)
		if err := s.search(name, line, column, text); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if name == "-" {
				err = fmt.Errorf("-: %w", err) // other errors already include the file name
			}
			s.notRead(err)
			return nil
		}
		done := max(0, len(piece)-overlap)
		line, column = advance(line, column, text[:done])
		piece = append(piece[:0], piece[done:]...)
	}
}

// advance returns the position after text that starts at the given line and column. Columns
// count characters, or bytes where the text isn't UTF-8.
func advance(line, column int, text string) (int, int) {
	if last := strings.LastIndexByte(text, '\n'); last >= 0 {
		line += strings.Count(text, "\n")
		column, text = 1, text[last+1:]
	}
	for i := range len(text) {
		if text[i]&0xc0 != 0x80 { // not within a character, which may be split between two pieces
			column++
		}
	}
	return line, column
}

// search reports the tokens in a piece of text, which starts at the given line and column. No
// token is found twice, because pieces overlap by less than a token's length.
func (s *scanner) search(name string, line, column int, text string) error {
	for at := s.prefixes.Find(text); at >= 0; at = s.prefixes.Find(text) {
		line, column = advance(line, column, text[:at])
		if err := s.report(name, line, column, text[at:at+token.SecretTextLength]); err != nil {
			return err
		}
		column++
		text = text[at+1:] // the next token may overlap this one
	}
	return nil
}

// narrower removes zero bytes from text, so that a token consists of the same bytes in UTF-8,
// UTF-16 and UTF-32, in either byte order and at any offset. Files with mixed encodings, which
// PowerShell creates when it appends to a file, need no special handling.
//
// In UTF-16, one byte of a character may look like a line break. If the text starts with a
// byte order mark, narrower replaces these bytes with spaces to keep line numbers correct.
type narrower struct {
	length int64 // length of the text so far, in bytes
	last   byte  // last byte of the text so far
	utf16  bool
}

// append appends the next part of the text to a piece.
func (n *narrower) append(piece, text []byte) []byte {
	if n.length > 1 && !n.utf16 && bytes.IndexByte(text, 0) < 0 {
		return append(piece, text...) // the usual case; last isn't needed
	}
	for _, b := range text {
		if n.length == 1 {
			n.utf16 = n.last == 0xff && b == 0xfe || n.last == 0xfe && b == 0xff
		}
		if b != 0 {
			piece = append(piece, b)
		}
		if n.utf16 && n.length%2 == 1 && n.last != 0 && b != 0 { // both bytes of a character are nonzero
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
