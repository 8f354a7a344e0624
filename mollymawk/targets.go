package mollymawk

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// targets implements gate.Route.Targets. It returns what a request acts on and rewrites the
// request to what it has read, so that Mollymawk can't read anything else. A request in which
// the names are missing or ambiguous is a *gate.BodyError.
//
// Updates and rollbacks also attach the volumes that the unikernel has used so far. The request
// doesn't name these, so they aren't targets.
type targets func(*gate.Call) ([]token.Resource, error)

// fromQuery reads the query.
func fromQuery(readers ...reader) targets {
	return func(call *gate.Call) ([]token.Resource, error) {
		v, err := readQuery(call.Query)
		if err != nil {
			return nil, err
		}
		resources, err := v.read(readers)
		call.Query = v.query()
		return resources, err
	}
}

// fromBody reads a JSON body.
func fromBody(readers ...reader) targets {
	return func(call *gate.Call) ([]token.Resource, error) {
		v, err := readObject("The body", call.Body)
		if err != nil {
			return nil, err
		}
		resources, err := v.read(readers)
		call.Body = v.members.append(nil)
		return resources, err
	}
}

// and reads two parts of a request.
func (t targets) and(other targets) targets {
	return func(call *gate.Call) ([]token.Resource, error) {
		resources, err := t(call)
		if err != nil {
			return nil, err
		}
		more, err := other(call)
		return append(resources, more...), err
	}
}

// reader returns the resources that some of the values name. It replaces these values with what
// it has read.
type reader func(values) ([]token.Resource, error)

// read calls all readers.
func (v values) read(readers []reader) ([]token.Resource, error) {
	var resources []token.Resource
	for _, read := range readers {
		more, err := read(v)
		if err != nil {
			return nil, err
		}
		resources = append(resources, more...)
	}
	return resources, nil
}

// instance, unikernel and block read a resource's name from the string called name.
func instance(name string) reader {
	return named(token.Resource{Type: "instance", Container: true}, name)
}
func unikernel(name string) reader { return named(token.Resource{Type: "unikernel"}, name) }
func block(name string) reader     { return named(token.Resource{Type: "block"}, name) }

func named(resource token.Resource, name string) reader {
	return func(v values) ([]token.Resource, error) {
		text, err := v.text(name)
		if err != nil {
			return nil, err
		}
		if err := checkLabel(name, text); err != nil {
			return nil, err
		}
		target := resource
		target.Name = strings.ToLower(text)
		v.setText(name, target.Name)
		return []token.Resource{target}, nil
	}
}

// absent refuses requests that have a value called name. Mollymawk ignores it, but another
// generation would read it.
func absent(name string) reader {
	return func(v values) ([]token.Resource, error) {
		i, err := v.find(name)
		if err == nil && i >= 0 {
			err = invalid("The request names a resource in the query and in the body. Remove %s.", name)
		}
		return nil, err
	}
}

// objectIn reads the JSON object in the string called name.
func objectIn(name string, readers ...reader) reader {
	return func(v values) ([]token.Resource, error) {
		text, err := v.text(name)
		if err != nil {
			return nil, err
		}
		if err := checkJSON([]byte(text)); err != nil {
			return nil, invalid("%s: %v", name, err)
		}
		inner, err := readObject("The JSON in "+name, []byte(text))
		if err != nil {
			return nil, err
		}
		resources, err := inner.read(readers)
		v.setText(name, string(inner.members.append(nil)))
		return resources, err
	}
}

// optionalObjectIn is objectIn for a string that may be missing.
func optionalObjectIn(name string, readers ...reader) reader {
	read := objectIn(name, readers...)
	return func(v values) ([]token.Resource, error) {
		if i, err := v.find(name); err != nil || i < 0 {
			return nil, err
		}
		return read(v)
	}
}

// optionalObject reads the JSON object called name, which may be missing or null.
func optionalObject(name string, readers ...reader) reader {
	return func(v values) ([]token.Resource, error) {
		i, err := v.find(name)
		if err != nil || i < 0 || v.members[i].value.Kind() == jsontext.KindNull {
			return nil, err
		}
		inner, err := readObject(name, v.members[i].value)
		if err != nil {
			return nil, err
		}
		return inner.read(readers)
	}
}
