package gate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// TargetSource says where the requests of a route from the configuration name a resource. The
// gate doesn't know how the backend reads requests. It therefore refuses everything that common
// frameworks read in different ways, and rewrites what it has read to a form that all of them
// read in the same way.
type TargetSource struct {
	// Type is the type of the resource: one of the table's types or another one.
	Type string
	// In is TargetInQuery, TargetInJSON or TargetInPath.
	In string
	// Name is the name of the query parameter, the path of the JSON member, such as volume.name,
	// or the number of the path segment, starting with 1.
	Name string
}

// Values of [TargetSource.In].
const (
	TargetInQuery = "query"
	TargetInJSON  = "json"
	TargetInPath  = "path"
)

var (
	resourceTypeName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	parameterName    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	memberPath       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$`)
)

// Check returns an error if the source can't be used for a route.
func (s TargetSource) Check(route *Route) error {
	if !resourceTypeName.MatchString(s.Type) {
		return fmt.Errorf("target %s: write a type of resource in lower case, such as project", ConfigWord(s.Type))
	}
	switch s.In {
	case TargetInQuery:
		if !parameterName.MatchString(s.Name) {
			return fmt.Errorf("target %s query %s: write the name of a query parameter", s.Type, ConfigWord(s.Name))
		}
	case TargetInJSON:
		if !memberPath.MatchString(s.Name) {
			return fmt.Errorf("target %s json %s: write the names of nested members, such as volume.name", s.Type,
				ConfigWord(s.Name))
		}
		if route.Upload {
			return fmt.Errorf("target %s json %s: the body of an upload isn't read, so only query and path are "+
				"possible", s.Type, s.Name)
		}
	case TargetInPath:
		segments := strings.Split(route.Path, "/")
		n, err := strconv.Atoi(s.Name)
		if err != nil || n < 1 || n >= len(segments) || segments[n] != "*" {
			return fmt.Errorf("target %s path %s: write the number of a * in the path %s, counting its segments from 1",
				s.Type, ConfigWord(s.Name), ConfigWord(route.Path))
		}
	default:
		return fmt.Errorf("target %s %s: write query, json or path and then where the name is", s.Type,
			ConfigWord(s.In))
	}
	return nil
}

// CustomTargets returns a [Route.Targets] for sources. types are the types of resources that the
// gate's table defines; other types have names of any form.
func CustomTargets(sources []TargetSource, types []token.ResourceType) func(*Call) ([]token.Resource, error) {
	if len(sources) == 0 {
		return nil
	}
	return func(call *Call) (targets []token.Resource, err error) {
		body, err := readTargetBody(sources, call)
		if err != nil {
			return nil, err
		}
		for _, source := range sources {
			names, err := source.names(call, body)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				target, err := source.target(name, types)
				if err != nil {
					return nil, err
				}
				targets = append(targets, target)
			}
		}
		if body != nil {
			call.Body = body
		}
		return targets, nil
	}
}

func (s TargetSource) target(name string, types []token.ResourceType) (token.Resource, error) {
	target := token.Resource{Type: s.Type, Name: name}
	if name == "" || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return target, bodyErrorf("The name of the %s is empty or isn't text.", s.Type)
	}
	i := slices.IndexFunc(types, func(t token.ResourceType) bool { return t.Name == s.Type })
	if i < 0 {
		return target, nil
	}
	target.Container = types[i].Container
	if check := types[i].Check; check != nil {
		var err error
		if target.Name, err = check(name); err != nil {
			return target, bodyErrorf("The name of the %s: %v.", s.Type, strings.TrimSuffix(err.Error(), "."))
		}
	}
	return target, nil
}

// names returns the names that the request has at the source.
func (s TargetSource) names(call *Call, body jsontext.Value) ([]string, error) {
	switch s.In {
	case TargetInQuery:
		name, query, err := queryTarget(call.Query, s.Name)
		call.Query = query
		return []string{name}, err
	case TargetInPath:
		n, _ := strconv.Atoi(s.Name) // checked by Check
		segments := strings.Split(call.Path, "/")
		if n >= len(segments) {
			return nil, bodyErrorf("The path has no segment %d.", n)
		}
		name, err := url.PathUnescape(segments[n])
		if err != nil {
			return nil, bodyErrorf("Segment %d of the path isn't escaped correctly.", n)
		}
		return []string{name}, nil
	}
	path := strings.Split(s.Name, ".")
	if err := queryWithout(call.Query, path[0]); err != nil {
		return nil, err
	}
	names, err := memberNames(body, path)
	if err == nil && len(names) == 0 {
		err = bodyErrorf("The JSON must name the %s in %s.", s.Type, s.Name)
	}
	return names, err
}

// queryTarget returns the value of a query parameter, and the query with the parameter in a form
// that all programs read in the same way.
func queryTarget(query, name string) (value, rewritten string, err error) {
	found := false
	parameters := strings.Split(query, "&")
	for i, raw := range parameters {
		key, rawValue, err := splitParameter(raw)
		if err != nil {
			return "", query, err
		}
		if !means(key, name) {
			continue
		}
		if found || key != name {
			return "", query, bodyErrorf("The query must contain the parameter %s exactly once.", name)
		}
		if value, err = url.PathUnescape(rawValue); err != nil || strings.Contains(rawValue, "+") {
			return "", query, bodyErrorf("The query parameter %s isn't escaped correctly: write %%20 for a space "+
				"and %%2B for a plus sign.", name)
		}
		found, parameters[i] = true, name+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	}
	if !found {
		return "", query, bodyErrorf("The query must contain the parameter %s.", name)
	}
	return value, strings.Join(parameters, "&"), nil
}

// queryWithout returns an error if a query contains a member's name. Some frameworks, such as
// Rails, prefer a query parameter to a member of the body.
func queryWithout(query, member string) error {
	for raw := range strings.SplitSeq(query, "&") {
		switch key, _, err := splitParameter(raw); {
		case err != nil:
			return err
		case means(key, member):
			return bodyErrorf("The query must not contain %s, because the body does.", member)
		}
	}
	return nil
}

// splitParameter returns the name and the escaped value of a query parameter.
func splitParameter(raw string) (name, value string, err error) {
	if strings.Contains(raw, ";") {
		return "", "", bodyErrorf("Write %%3B instead of ; in the query, because some programs treat it as &.")
	}
	name, value, _ = strings.Cut(raw, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", bodyErrorf("The query isn't escaped correctly.")
	}
	return name, value, nil
}

// likeUnderscore replaces the characters that PHP reads as an underscore in a parameter's name.
var likeUnderscore = strings.NewReplacer(".", "_", " ", "_", "[", "_")

// means reports whether a program could read the key of a query parameter as name. Some ignore
// letter case and spaces, take a bracket for the beginning of an index, or end a key at a NUL.
func means(key, name string) bool {
	key, _, _ = strings.Cut(strings.TrimLeft(key, "\x00"), "\x00")
	key = strings.TrimSpace(key)
	base, _, _ := strings.Cut(key, "[")
	return strings.EqualFold(strings.TrimSpace(base), name) ||
		strings.EqualFold(likeUnderscore.Replace(key), likeUnderscore.Replace(name)) ||
		strings.EqualFold(likeUnderscore.Replace(base), likeUnderscore.Replace(name))
}

// readTargetBody returns the request's body in a compact form with plain strings, or nil if no
// source needs it.
func readTargetBody(sources []TargetSource, call *Call) (jsontext.Value, error) {
	if !slices.ContainsFunc(sources, func(s TargetSource) bool { return s.In == TargetInJSON }) {
		return nil, nil
	}
	if len(call.ContentType) != 1 || !isJSON(call.ContentType[0]) {
		return nil, bodyErrorf("Send the body as JSON, with exactly one header Content-Type: application/json.")
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(call.Body))
	body, err := decoder.ReadValue()
	if err == nil {
		body = body.Clone()
		err = body.Format()
	}
	if err != nil {
		return nil, bodyErrorf("The body isn't valid JSON (RFC 8259), or a member occurs twice.")
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, bodyErrorf("The JSON value is followed by more text.")
	}
	return body, nil
}

func isJSON(contentType string) bool {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	charset := parameters["charset"]
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")) &&
		(charset == "" || strings.EqualFold(charset, "utf-8"))
}

// memberNames returns the names at a path of members in valid JSON. Each element of an array
// counts. Whole numbers are names too.
func memberNames(value jsontext.Value, path []string) (names []string, err error) {
	switch kind := value.Kind(); {
	case kind == jsontext.KindBeginArray:
		var elements []jsontext.Value
		if err := json.Unmarshal(value, &elements); err != nil {
			return nil, err
		}
		for _, element := range elements {
			if element.Kind() == jsontext.KindBeginArray { // the path also limits the depth
				return nil, bodyErrorf("The JSON must not name resources in an array inside an array.")
			}
			more, err := memberNames(element, path)
			if err != nil {
				return nil, err
			}
			names = append(names, more...)
		}
		return names, nil
	case len(path) == 0:
		return scalarName(value)
	case kind != jsontext.KindBeginObject:
		return nil, bodyErrorf("The JSON must be an object that contains the member %s.", path[0])
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil {
		return nil, err
	}
	for name := range members {
		// Some programs ignore the letter case.
		if name != path[0] && strings.EqualFold(name, path[0]) {
			return nil, bodyErrorf("The JSON has a member whose name differs from %s only in letter case.", path[0])
		}
	}
	member, ok := members[path[0]]
	if !ok {
		return nil, nil
	}
	return memberNames(member, path[1:])
}

var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

func scalarName(value jsontext.Value) ([]string, error) {
	switch {
	case value.Kind() == jsontext.KindString:
		text, err := jsontext.AppendUnquote(nil, value)
		return []string{string(text)}, err
	case wholeNumber.Match(value):
		return []string{string(value)}, nil
	}
	return nil, bodyErrorf("The JSON must name resources with strings or whole numbers.")
}

func bodyErrorf(format string, args ...any) error {
	return &BodyError{Detail: fmt.Sprintf(format, args...)}
}
