package mollymawk

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A restart request names the instance and the unikernel either in the query or in the
// body, which use different names for them. If one is in the query and the other in the
// body, the gate forwards the request unchanged, and the backend's response reports what is
// missing.
const (
	queryInstance  = "instance"
	queryUnikernel = "unikernel"
	bodyInstance   = "albatross_instance"
	bodyUnikernel  = "name"
)

// restartByQuery moves the instance and unikernel names from the body to the query.
func restartByQuery(query string, body []byte) (newQuery string, newBody []byte) {
	parameters := parseQuery(query)
	if parameters.index(queryInstance) >= 0 || parameters.index(queryUnikernel) >= 0 {
		return query, body
	}
	members, ok := parseObject(body)
	if !ok {
		return query, body
	}
	instance, okInstance := members.text(bodyInstance)
	unikernel, okUnikernel := members.text(bodyUnikernel)
	if !okInstance || !okUnikernel {
		return query, body
	}
	if query != "" {
		query += "&"
	}
	query += queryInstance + "=" + url.QueryEscape(instance) + "&" + queryUnikernel + "=" + url.QueryEscape(unikernel)
	return query, members.without(bodyInstance, bodyUnikernel).append(nil)
}

// restartByBody moves the instance and unikernel names from the query to the body.
func restartByBody(query string, body []byte) (newQuery string, newBody []byte) {
	parameters := parseQuery(query)
	instance, okInstance := parameters.value(queryInstance)
	unikernel, okUnikernel := parameters.value(queryUnikernel)
	if !okInstance || !okUnikernel {
		return query, body
	}
	members, ok := parseObject(body)
	if !ok || members.index(bodyInstance) >= 0 || members.index(bodyUnikernel) >= 0 {
		return query, body
	}
	moved := object{quotedMember(bodyUnikernel, unikernel), quotedMember(bodyInstance, instance)}
	return parameters.without(queryInstance, queryUnikernel).String(), append(moved, members...).append(nil)
}

func quotedMember(name, value string) member {
	quoted, _ := jsontext.AppendQuote(nil, value) // fails only for invalid UTF-8
	return member{name, quoted}
}

// parameters lists a query's parameters, in order. As in ocaml-uri, "&" is the only
// separator, and the first of several parameters with the same name counts.
type parameters []parameter

type parameter struct {
	name string
	// raw is the escaped "name=value".
	raw string
}

func parseQuery(query string) parameters {
	var list parameters
	for raw := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(raw, "=")
		if unescaped, err := url.QueryUnescape(name); err == nil {
			name = unescaped
		}
		list = append(list, parameter{name, raw})
	}
	return list
}

func (p parameters) index(name string) int {
	return slices.IndexFunc(p, func(p parameter) bool { return p.name == name })
}

// value returns the first value of the parameter called name, if it is valid UTF-8.
func (p parameters) value(name string) (value string, ok bool) {
	i := p.index(name)
	if i < 0 {
		return "", false
	}
	_, raw, _ := strings.Cut(p[i].raw, "=")
	value, err := url.QueryUnescape(raw)
	return value, err == nil && utf8.ValidString(value)
}

func (p parameters) without(names ...string) parameters {
	return slices.DeleteFunc(p, func(p parameter) bool { return slices.Contains(names, p.name) })
}

// String returns the encoded query.
func (p parameters) String() string {
	raw := make([]string, 0, len(p))
	for _, parameter := range p {
		raw = append(raw, parameter.raw)
	}
	return strings.Join(raw, "&")
}
