package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/gate"
)

// lines is a listing of one resource per line, after the line "list". It ends with the line "end".
var lines = &gate.Listing{Filter: func(to io.Writer, from io.Reader, keep func(string) bool) error {
	text := ""
	buffer := make([]byte, 3)
	for {
		n, err := from.Read(buffer)
		text += string(buffer[:n])
		for {
			line, rest, complete := strings.Cut(text, "\n")
			if !complete {
				break
			}
			text = rest
			switch {
			case line == "bad":
				return errors.New("a bad line")
			case line == "end" && rest == "":
				_, err := io.WriteString(to, "end\n")
				return err
			case line == "list" || keep(line):
				if _, err := io.WriteString(to, line+"\n"); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
	}
}}

// TestFilteredResponse checks what clients get of a list, in pieces of all sizes.
func TestFilteredResponse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status       int
		header, body string
		// fails is set if the handler fails after the body.
		fails bool
		// want is the status and the body, "unfiltered" or "aborted" with what the client has got.
		want string
	}{
		"list":           {200, "", "list\na\nb\nab\nend\n", false, "200 list\na\nab\nend\n"},
		"nothing listed": {200, "", "list\nend\n", false, "200 list\nend\n"},
		"error":          {404, "", "a\nb\n", false, "404 a\nb\n"},
		"redirect":       {302, "", "", false, "302 "},
		"empty":          {200, "", "", false, "unfiltered"},
		"unknown format": {200, "", "bad\nlist\na\nend\n", false, "unfiltered"},
		"encoded":        {200, "gzip", "list\na\nend\n", false, "unfiltered"},
		"part":           {206, "", "list\na\nend\n", false, "unfiltered"},
		"no content":     {204, "", "", false, "unfiltered"},
		"cut off":        {200, "", "list\na\n", false, "aborted list\na\n"},
		"unexpected":     {200, "", "list\na\nbad\nb\n", false, "aborted list\na\n"},
		"handler fails":  {200, "", "list\na\n", true, "aborted list\na\n"},
		"fails at once":  {200, "", "", true, "unfiltered"},
	} {
		for size := 1; size < 8; size++ {
			handler := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Length", fmt.Sprint(len(tt.body)))
				w.Header().Set("ETag", `"x"`)
				if tt.header != "" {
					w.Header().Set("Content-Encoding", tt.header)
				}
				w.WriteHeader(tt.status)
				for piece := range slices.Chunk([]byte(tt.body), size) {
					if _, err := w.Write(piece); err != nil {
						return err
					}
				}
				if tt.fails {
					return errors.New("the handler failed")
				}
				return nil
			})
			got := serveFiltered(t, handler)
			if got != tt.want {
				t.Errorf("%s in pieces of %d bytes: got %q, want %q", name, size, got, tt.want)
			}
		}
	}
}

// serveFiltered returns the outcome of a handler behind a filter that keeps names with an a.
func serveFiltered(t *testing.T, handler caddyhttp.Handler) (outcome string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	filtered := newFilteredResponse(recorder, lines, func(name string) bool { return strings.Contains(name, "a") })
	defer func() {
		if cause := recover(); cause != nil {
			if cause != http.ErrAbortHandler {
				panic(cause)
			}
			outcome = "aborted " + recorder.Body.String()
		}
	}()
	err := filtered.serve(handler, httptest.NewRequest(http.MethodGet, "/", nil), zap.NewNop())
	if errors.Is(err, errUnfiltered) {
		if recorder.Body.Len() > 0 {
			t.Errorf("the client got %q", recorder.Body)
		}
		return "unfiltered"
	}
	if err != nil {
		t.Error(err)
	}
	if recorder.Code == http.StatusOK && len(recorder.Header()) > 0 {
		t.Errorf("the filtered list has the headers %v", recorder.Header())
	}
	return fmt.Sprint(recorder.Code, " ", recorder.Body)
}

// TestFilteredResponseLog checks that the log says why a list can't be filtered, although Caddy's
// proxy aborts a response that it can't write.
func TestFilteredResponseLog(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	filtered := newFilteredResponse(httptest.NewRecorder(), lines, func(string) bool { return true })
	handler := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		if _, err := io.WriteString(w, "bad\n"); err != nil {
			panic(http.ErrAbortHandler)
		}
		return nil
	})
	err := filtered.serve(handler, httptest.NewRequest(http.MethodGet, "/", nil), zap.New(core))
	if !errors.Is(err, errUnfiltered) {
		t.Errorf("got error %v", err)
	}
	if entries := logs.All(); len(entries) != 1 || entries[0].ContextMap()["error"] != "a bad line" {
		t.Errorf("got log entries %+v", entries)
	}
}
