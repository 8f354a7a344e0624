package mollymawktest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
)

// streamForm reads a form part by part and hands its file to use, with the fields
// that came before. A later field of the same name overwrites an earlier one;
// parts in neither list are skipped. Without a file, and if the form or the
// request breaks off, there is no answer.
func (c *call) streamForm(file string, required, optional []string, use func(fields map[string]string, file io.Reader)) {
	contentType, ok := c.head.last("content-type")
	if !ok {
		c.say(http.StatusBadRequest, "Missing Content-Type header")
		return
	}
	if !strings.HasPrefix(contentType, "multipart/form-data") {
		c.say(http.StatusBadRequest, "Expected multipart/form-data")
		return
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		c.say(http.StatusBadRequest, "Invalid Content-Type: "+err.Error())
		return
	}
	if params["boundary"] == "" {
		return
	}
	form := multipart.NewReader(c.body, params["boundary"])
	fields := make(map[string]string)
	for !c.over {
		part, err := form.NextRawPart()
		if err != nil {
			return // the end, or broken
		}
		name := part.FormName()
		switch {
		case name == file:
			if !hasAll(fields, required) {
				c.say(http.StatusBadRequest, "One or more required fields are missing.")
				continue
			}
			use(fields, part)
			if c.state == waiting {
				return
			}
		case slices.Contains(required, name) || slices.Contains(optional, name):
			data, err := io.ReadAll(part)
			if err != nil {
				return
			}
			fields[name] = string(data)
		}
	}
}

func hasAll(fields map[string]string, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		_, ok := fields[name]
		return !ok
	})
}

// readForm reads a whole form, of which the last part of a name counts, and checks
// the CSRF value in it; otherwise it answers, or not if the body is broken.
func (c *call) readForm() (map[string]string, bool) {
	contentType, _ := c.head.last("content-type")
	if !strings.HasPrefix(contentType, "multipart/form-data") {
		c.say(http.StatusBadRequest, "Expected multipart form data")
		return nil, false
	}
	data, ok := c.body.all()
	if !ok {
		return nil, false
	}
	fields, problem := parseForm(contentType, data)
	if problem != "" {
		c.say(http.StatusBadRequest, "Couldn't process multipart request: "+problem)
		return nil, false
	}
	if c.byToken {
		return fields, true
	}
	csrf, ok := fields[csrfCookie]
	if !ok {
		c.say(http.StatusBadRequest, "Couldn't find CSRF token")
		return nil, false
	}
	return fields, c.checkCSRF(csrf)
}

// parseForm reads a whole form, or says what is wrong with it.
func parseForm(contentType string, data []byte) (fields map[string]string, problem string) {
	const broken = "Couldn't decode multipart data: "
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, "couldn't parse content-type " + contentType + ": " + err.Error()
	}
	if params["boundary"] == "" {
		return nil, broken + "Invalid Content-Type, missing boundary"
	}
	if !bytes.Contains(data, []byte("--"+params["boundary"])) {
		return nil, broken + "no part" // which package multipart takes for an empty form
	}
	fields = make(map[string]string)
	form := multipart.NewReader(bytes.NewReader(data), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return fields, ""
		}
		if err != nil {
			return nil, broken + err.Error()
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, broken + err.Error()
		}
		fields[part.FormName()] = string(value)
	}
}
