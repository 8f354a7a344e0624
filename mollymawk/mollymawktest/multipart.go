package mollymawktest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// streamForm reads a form part by part and calls use with the file and the fields before
// it. If several fields have the same name, the last one counts. Parts in neither list are
// skipped. If the body ends within a part, the part counts as complete. A form without a
// file gets no response.
func (c *call) streamForm(file string, required, optional []string,
	use func(fields map[string]string, file io.Reader)) {
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
	fields := make(map[string]string)
	eachPart(c.body, params["boundary"], func(name string, content io.Reader) bool {
		switch {
		case name == file:
			if !hasAll(fields, required) {
				c.say(http.StatusBadRequest, "One or more required fields are missing.")
				break
			}
			use(fields, content)
			return c.state != waiting && !c.over
		case slices.Contains(required, name) || slices.Contains(optional, name):
			data, err := io.ReadAll(content)
			if err != nil {
				return false
			}
			fields[name] = string(data)
		}
		return !c.over
	})
}

func hasAll(fields map[string]string, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		_, ok := fields[name]
		return !ok
	})
}

// readForm reads a whole form and checks its CSRF value. If several parts have the same
// name, the last one counts. On an error, it responds and returns false. If the body never
// ends, it returns false without responding.
func (c *call) readForm() (map[string]string, bool) {
	contentType, _ := c.head.last("content-type")
	if !strings.HasPrefix(contentType, "multipart/form-data") {
		c.say(http.StatusBadRequest, "Expected multipart form data")
		return nil, false
	}
	data, ok := c.readBody()
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

// parseForm parses a whole form. problem describes what is wrong with the form, if
// anything.
func parseForm(contentType string, data []byte) (fields map[string]string, problem string) {
	const broken = "Couldn't decode multipart data: Invalid input"
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, "couldn't parse content-type " + contentType + ": " + err.Error()
	}
	fields = make(map[string]string)
	parts, ok := 0, true
	eachPart(bytes.NewReader(data), params["boundary"], func(name string, content io.Reader) bool {
		value, err := io.ReadAll(content)
		fields[name] = string(value)
		parts++
		ok = err == nil
		return ok
	})
	if !ok || parts == 0 {
		return nil, broken
	}
	return fields, ""
}
