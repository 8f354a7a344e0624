package mollymawktest

import (
	"net/http"
	"strconv"
	"strings"
)

// Words as Mollymawk spells them.
const (
	occurred     = "occured"     //nolint:misspell
	successfully = "succesfully" //nolint:misspell
)

// callState is how far the answer is.
type callState int

const (
	waiting callState = iota
	answered
	streaming
)

// call is a request while it is handled. A handler that returns without having
// answered leaves the client without an answer, which is what Mollymawk often
// does.
type call struct {
	srv    *Server
	conn   *conn
	head   *head
	path   string
	query  string
	body   *body
	record *requestRecord

	user    *user
	byToken bool // else by session, and changes need a CSRF value

	state  callState
	over   bool // the process has ended: nothing more is sent
	closes bool // the connection is closed after the answer
}

func (c *conn) newCall(h *head, length int64, chunked bool) *call {
	record := c.srv.recorder.parsed(c.record, h)
	path, query := splitTarget(h.target)
	return &call{
		srv: c.srv, conn: c, head: h, path: path, query: query, record: record,
		body: newBody(c.r, record, length, chunked),
	}
}

// begin moves on from waiting. Answering twice raises an exception, and so does
// answering after an error of the connection was reported, as in H1.
func (c *call) begin(state callState) bool {
	if c.over || c.state != waiting || c.body.ending == failed {
		c.crash()
		return false
	}
	c.state = state
	return true
}

// readBody reads the whole body into memory, or returns false if it never ends. The
// memory is allocated for the length in the header, whatever the framing is.
func (c *call) readBody() ([]byte, bool) {
	text, _ := c.head.last("content-length")
	announced, _ := integer(text)
	return c.body.all(announced, c.srv.options.Memory)
}

// respond sends a whole answer.
func (c *call) respond(status int, contentType, body string, extra ...field) {
	if !c.begin(answered) {
		return
	}
	c.record.answered(status)
	fields := append([]field{
		{"content-length", strconv.Itoa(len(body))},
		{"content-type", contentType},
		{"x-frame-options", "DENY"},
		{"content-security-policy", "frame-ancestors 'none'"},
	}, extra...)
	_ = c.send(responseHead(status, fields), body) // the client may be gone
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

// stream is an answer without a length, which ends with the connection. Its head
// is sent together with the first bytes.
type stream struct {
	call *call
	head string
}

// stream commits to an answer 200 with these headers; nothing is sent yet.
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
		s.call.record.answered(http.StatusOK)
	}
	return s.call.send(head, p)
}

// envelope answers with Mollymawk's JSON. The title is the status if it is empty.
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

// say answers with the JSON envelope without a title of its own.
func (c *call) say(status int, data any) { c.envelope(status, "", data) }

// errorPage answers with an HTML page even on API routes.
func (c *call) errorPage(status int, title, text string) {
	if title == "" {
		title = strconv.Itoa(status)
	}
	c.respond(status, "text/html", errorPage(status, title, text))
}

// redirect answers 302 with a message for the next page.
func (c *call) redirect(location, flash string, extra ...field) {
	extra = append(extra, field{"Set-Cookie", "flash_msg=" + flash + ";Path=/;"}, field{"location", location})
	c.respond(http.StatusFound, "text/html", errorPage(http.StatusFound, "Redirecting", ""), extra...)
}

// param returns the first value of a query parameter.
func (c *call) param(name string) (string, bool) { return queryValue(c.query, name) }

// queryPlace returns the albatross instance and the unikernel that the query names, or
// answers.
func (c *call) queryPlace() (instance, name string, ok bool) {
	if instance, ok = c.queryInstance(); ok {
		name, ok = c.queryUnikernel()
	}
	return instance, name, ok
}

// queryInstance returns the albatross instance that the query names, or answers. A
// browser is sent to choose one, and then back.
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

// queryUnikernel returns the unikernel that the query names, or answers. Whether
// there is one is not looked at.
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
