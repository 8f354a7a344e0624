package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Error is the server's refusal of a call.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is the API's own name for the case, like "not_found". It is empty if
	// the answer isn't the admin API's: then something else serves that address,
	// or the request didn't get as far as the API.
	Code string
	// Detail says in words what is wrong. Without a Code it is what could be read
	// of the answer.
	Detail string
	// Field names the member of the request's body that is wrong, if one is.
	Field string
	// Parameter names the query parameter that is wrong, if one is.
	Parameter string
}

// Error returns the detail with the status.
func (e *Error) Error() string {
	detail := e.Detail
	if detail == "" {
		detail = http.StatusText(e.Status)
	}
	if e.Code == "" {
		return fmt.Sprintf("%s (%d)", detail, e.Status)
	}
	return fmt.Sprintf("%s (%d %s)", detail, e.Status, e.Code)
}

// TransportError says that no whole answer came. The server may have done what
// it was asked to all the same.
type TransportError struct {
	err error
}

// Error returns the cause.
func (e *TransportError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.err }

// transportError drops method and URL from what net/http says: they are known,
// and a URL needn't be in more places than it must.
func transportError(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return &TransportError{err: err}
}

// Error bodies are a few hundred bytes; a foreign page may be anything.
const (
	maxErrorBody  = 64 << 10
	maxErrorQuote = 300
)

// readError makes an Error of an answer that isn't 2xx. It always finds
// something to say: a body that can't be read whole is as good as its beginning.
func readError(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	problem := struct {
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		Code      string `json:"code"`
		Field     string `json:"field"`
		Parameter string `json:"parameter"`
		// Error is the text in the errors of Caddy's own admin endpoint.
		Error string `json:"error"`
	}{}
	if err := json.Unmarshal(body, &problem); err != nil {
		return &Error{Status: response.StatusCode, Detail: quote(body)}
	}
	detail := problem.Detail
	if detail == "" {
		detail = problem.Title
	}
	if problem.Code == "" && problem.Error != "" {
		detail = problem.Error
	}
	return &Error{
		Status:    response.StatusCode,
		Code:      problem.Code,
		Detail:    detail,
		Field:     problem.Field,
		Parameter: problem.Parameter,
	}
}

// quote returns the beginning of a foreign body on one line.
func quote(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "�")), " ")
	if short := []rune(text); len(short) > maxErrorQuote {
		return string(short[:maxErrorQuote]) + "…"
	}
	return text
}
