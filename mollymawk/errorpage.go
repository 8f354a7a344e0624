package mollymawk

import (
	"bytes"
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// pageText returns an error page's text, or "" if page isn't an error page. Mollymawk's
// error page has three paragraphs: the status, a title, and the text as a JSON string that
// is escaped a second time (error_page.ml).
func pageText(page []byte) string {
	list := paragraphs(page)
	for i, paragraph := range list {
		if errorStatus.MatchString(paragraph) && i+2 < len(list) {
			title, text := list[i+1], unescape(list[i+2])
			return cmp.Or(text, title)
		}
	}
	return ""
}

var errorStatus = regexp.MustCompile(`^Error [1-5][0-9][0-9]$`)

// fragmentText returns the text of an HTML fragment. Mollymawk labels fragments text/plain.
func fragmentText(fragment []byte) string { return strings.Join(paragraphs(fragment), " ") }

// paragraphs returns the text of each paragraph on a page, ignoring invisible elements.
func paragraphs(page []byte) (list []string) {
	var text strings.Builder
	inside, hidden := false, atom.Atom(0)
	end := func() {
		if inside {
			list = append(list, strings.TrimSpace(text.String()))
		}
		inside = false
		text.Reset()
	}
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			end()
			return list
		}
		if kind == html.TextToken && inside && hidden == 0 {
			text.Write(z.Text())
			continue
		}
		name, _ := z.TagName()
		switch tag := atom.Lookup(name); {
		case kind == html.StartTagToken && hidden == 0 && invisible[tag]:
			hidden = tag
		case kind == html.EndTagToken && tag == hidden:
			hidden = 0
		case tag != atom.P || hidden != 0:
		case kind == html.StartTagToken:
			end() // a paragraph ends where the next begins
			inside = true
		case kind == html.EndTagToken:
			end()
		}
	}
}

// invisible lists the elements whose text browsers don't display.
var invisible = map[atom.Atom]bool{
	atom.Head: true, atom.Script: true, atom.Style: true, atom.Template: true, atom.Noscript: true,
}

// unescape decodes a JSON string that was escaped with OCaml's String.escaped. It returns
// anything else unchanged.
func unescape(s string) string {
	var raw strings.Builder
	for rest := s; rest != ""; {
		c := rest[0]
		rest = rest[1:]
		if c == '\\' && rest != "" {
			if i := strings.IndexByte(`"\'bnrt`, rest[0]); i >= 0 {
				c, rest = "\"\\'\b\n\r\t"[i], rest[1:]
			} else if n, err := strconv.ParseUint(rest[:min(3, len(rest))], 10, 8); err == nil {
				c, rest = byte(n), rest[min(3, len(rest)):]
			}
		}
		raw.WriteByte(c)
	}
	text, err := jsontext.AppendUnquote(nil, raw.String())
	if err != nil {
		return s
	}
	return string(text)
}
