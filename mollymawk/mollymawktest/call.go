package mollymawktest

import (
	"net/http"
	"strconv"
	"strings"
)

// Words that Mollymawk misspells.
const (
	occurred     = "occured"     //nolint:misspell
	successfully = "succesfully" //nolint:misspell
)

// callState describes how far a call's response has progressed.
type callState int

const (
	waiting callState = iota
	responded
	streaming
)

// call is a request being handled. If the handler returns without responding, the client
// gets no response, which is common with Mollymawk.
type call struct {
	srv    *Server
	conn   *conn
	head   *head
	path   string
	query  string
	body   *body
	record *requestRecord

	user    *user
	byToken bool // false for sessions, which need a CSRF value for changes

	state  callState
	over   bool // the process has crashed, so nothing more is sent
	closes bool // the connection is closed after the response
}

func (c *conn) newCall(h *head, length int64, chunked bool) *call {
	record := c.srv.recorder.parsed(c.record, h)
	path, query := splitTarget(h.target)
	return &call{
		srv: c.srv, conn: c, head: h, path: path, query: query, record: record,
		body: newBody(c.r, record, length, chunked),
	}
}

// begin starts the response. As in H1, responding twice or after a connection error raises
// an exception.
func (c *call) begin(state callState) bool {
	if c.over || c.state != waiting || c.body.ending == failed {
		c.crash()
		return false
	}
	c.state = state
	return true
}

// readBody reads the whole body into memory. It reports false if the body never ends.
// Mollymawk allocates Content-Length bytes even if the body is chunked.
func (c *call) readBody() ([]byte, bool) {
	text, _ := c.head.last("content-length")
	announced, _ := integer(text)
	return c.body.all(announced, c.srv.options.Memory)
}

// respond sends a complete response.
func (c *call) respond(status int, contentType, body string, extra ...field) {
	if !c.begin(responded) {
		return
	}
	c.record.responded(status)
	fields := append([]field{
		{"content-length", strconv.Itoa(len(body))},
		{"content-type", contentType},
		{"x-frame-options", "DENY"},
		{"content-security-policy", "frame-ancestors 'none'"},
	}, extra...)
	_ = c.send(responseHead(status, fields), body) // the client may have disconnected
}

func responseHead(status int, fields []field) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n")
	for _, f := range fields {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

func (c *call) send(head, body string) error {
	_, err := c.conn.net.Write([]byte(head + body))
	return err
}

// stream is a response that has no Content-Length and ends when the connection closes. Its
// head is sent with the first bytes of the body.
type stream struct {
	call *call
	head string
}

// stream commits to a 200 response with these headers but doesn't send anything yet.
func (c *call) stream(fields ...field) *stream {
	if !c.begin(streaming) {
		return nil
	}
	return &stream{call: c, head: responseHead(http.StatusOK, fields)}
}

func (s *stream) write(p string) error {
	head := s.head
	s.head = ""
	if head != "" {
		s.call.record.responded(http.StatusOK)
	}
	return s.call.send(head, p)
}

// envelope sends a response with Mollymawk's JSON envelope. If title is empty, the title is
// the status.
func (c *call) envelope(status int, title string, data any, extra ...field) {
	if title == "" {
		title = strconv.Itoa(status)
	}
	c.respond(status, "application/json", encode(object{
		{"status", status},
		{"title", title},
		{"success", status >= 200 && status < 300},
		{"data", data},
	}), extra...)
}

// say sends a response with the JSON envelope and the default title.
func (c *call) say(status int, data any) { c.envelope(status, "", data) }

// errorPage responds with an HTML page, even on API routes.
func (c *call) errorPage(status int, title, text string) {
	if title == "" {
		title = strconv.Itoa(status)
	}
	c.respond(status, "text/html", errorPage(status, title, text))
}

// redirect responds with 302 and sets a message for the next page.
func (c *call) redirect(location, flash string, extra ...field) {
	extra = append(extra, field{"Set-Cookie", "flash_msg=" + flash + ";Path=/;"}, field{"location", location})
	c.respond(http.StatusFound, "text/html", errorPage(http.StatusFound, "Redirecting", ""), extra...)
}

// param returns the first value of a query parameter.
func (c *call) param(name string) (string, bool) { return queryValue(c.query, name) }

// queryNames returns the albatross instance and the unikernel named in the query. If either
// is missing or invalid, it responds and returns false.
func (c *call) queryNames() (instance, name string, ok bool) {
	if instance, ok = c.queryInstance(); ok {
		name, ok = c.queryUnikernel()
	}
	return instance, name, ok
}

// queryInstance returns the albatross instance named in the query. If the name is missing,
// it redirects to a page for choosing an instance. If the name is invalid or unknown, it
// responds with an error. In both cases, it returns false.
func (c *call) queryInstance() (string, bool) {
	text, ok := c.param("instance")
	if !ok {
		c.redirect("/select/instance?callback="+percentEncode(c.head.target), "")
		return "", false
	}
	name, err := label(text)
	if err != nil {
		c.errorPage(http.StatusBadRequest, "Albatross instance error",
			"Error with albatross instance name: "+err.Error())
		return "", false
	}
	if !c.srv.hasInstance(name) {
		c.errorPage(http.StatusNotFound, "", "Couldn't find albatross instance with name: "+name)
		return "", false
	}
	return name, true
}

// queryUnikernel returns the unikernel named in the query. If the name is missing or
// invalid, it responds and returns false. It doesn't check whether the unikernel exists.
func (c *call) queryUnikernel() (string, bool) {
	text, ok := c.param("unikernel")
	if !ok {
		c.errorPage(http.StatusBadRequest, "", "Couldn't find unikernel in query params")
		return "", false
	}
	name, err := label(text)
	if err != nil {
		c.errorPage(http.StatusBadRequest, "Unikernel name error", "Error with unikernel name: "+err.Error())
		return "", false
	}
	return name, true
}
