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

// Error is a refusal by the server.
type Error struct {
	// Status is the HTTP status code.
	Status int
	// Code is the API's error code, such as "not_found". It is empty if the response isn't
	// from the admin API, for example because another server uses this address or the
	// request didn't reach the API.
	Code string
	// Detail describes the problem. If Code is empty, Detail is the readable part of the
	// response.
	Detail string
	// Field is the name of the invalid member in the request body, if any.
	Field string
	// Parameter is the name of the invalid query parameter, if any.
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

// TransportError reports that the client didn't receive a complete response. The server may
// still have carried out the request.
type TransportError struct {
	err error
}

// Error returns the cause.
func (e *TransportError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.err }

// transportError removes the method and the URL from a net/http error. The caller already
// knows them, and URLs shouldn't end up in logs.
func transportError(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return &TransportError{err: err}
}

// The API's error bodies are a few hundred bytes long. Other servers may send pages of any
// size.
const (
	maxErrorBody  = 64 << 10 // in bytes
	maxErrorQuote = 300      // in characters
)

// readError returns the Error for a response with a status other than 2xx. If reading the
// body fails, readError uses the part that it could read.
func readError(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	problem := struct {
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		Code      string `json:"code"`
		Field     string `json:"field"`
		Parameter string `json:"parameter"`
		// Error is the message in errors from Caddy's admin endpoint.
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

// quote returns the start of a body that isn't JSON, on one line.
func quote(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "�")), " ")
	if short := []rune(text); len(short) > maxErrorQuote {
		return string(short[:maxErrorQuote]) + "…"
	}
	return text
}
