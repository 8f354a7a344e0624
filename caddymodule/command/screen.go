package command

import (
	"os"
	"runtime"

	"golang.org/x/term"
)

// screen is the terminal that standard output goes to. The zero screen is a file or a pipe.
type screen struct {
	// width is in columns. 0 means that lines can have any length.
	width int
	// color reports whether the terminal understands escape sequences and the user wants them.
	color bool
}

func screenOf(f *os.File) screen {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return screen{} // not a terminal
	}
	return screen{
		width: width,
		// See no-color.org. Windows consoles show escape sequences unless told otherwise.
		color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && runtime.GOOS != "windows",
	}
}

// style is the parameter of an SGR escape sequence. The empty style leaves text as it is.
type style string

const (
	bold   style = "1"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// paint returns the text in a style if the screen has colors.
func (s screen) paint(text string, as style) string {
	if as == "" || text == "" || !s.color {
		return text
	}
	return "\x1b[" + string(as) + "m" + text + "\x1b[0m"
}

// statusStyle returns the style of a status or another outcome.
func statusStyle(word string) style {
	switch word {
	case "active", "ok":
		return green
	case "disabled", "not_yet_valid", "expiring", statusUnknown, statusUnchecked:
		return yellow
	case "expired", "revoked", "damaged", "refused":
		return red
	}
	return ""
}
