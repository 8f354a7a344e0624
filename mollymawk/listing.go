package mollymawk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/gate"
)

// unikernelListing describes the response of /api/unikernels:
//
//	{"status":200,"title":"…","success":true,"data":{"data":[[{"name":"…",…},…],…],"errors":[…]}}
//
// It has one array of unikernels for each albatross instance, without the instance's name.
func unikernelListing() *gate.Listing {
	return &gate.Listing{Type: "unikernel", Unnamed: []string{"instance"}, Filter: filterUnikernels}
}

// filterUnikernels implements gate.Listing.Filter.
func filterUnikernels(to io.Writer, from io.Reader, keep func(name string) bool) error {
	input := &listingInput{reader: from}
	f := &listingFilter{input: input, output: bufio.NewWriter(to), keep: keep,
		// Clients choose some of the texts, which Mollymawk returns unchecked.
		decoder: jsontext.NewDecoder(input, jsontext.AllowInvalidUTF8(true))}
	err := f.response()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("filtering the list of unikernels: %w", err)
	}
	return f.output.Flush()
}

var (
	errListing     = errors.New("the response isn't Mollymawk's list of unikernels")
	errListingName = errors.New("a unikernel in the response has no name, or more than one")
)

// listingFilter copies a response. Each method copies the next part, and returns an error if
// that part is anything else than expected.
type listingFilter struct {
	decoder *jsontext.Decoder
	input   *listingInput
	output  *bufio.Writer
	keep    func(name string) bool
}

func (f *listingFilter) response() error {
	if err := f.object("data", map[string]func() error{"status": f.scalar, "title": f.scalar, "success": f.scalar,
		"data": f.data}); err != nil {
		return err
	}
	switch _, err := f.decoder.ReadToken(); {
	case err == nil:
		return errListing
	case !errors.Is(err, io.EOF):
		return err
	}
	return f.copy(f.input.end)
}

func (f *listingFilter) data() error {
	return f.object("data", map[string]func() error{
		"data":   func() error { return f.array(f.unikernels) },
		"errors": func() error { return f.array(f.value) },
	})
}

// object copies an object. members copy the values of its members. Only the required member
// must exist, and no others are allowed.
func (f *listingFilter) object(required string, members map[string]func() error) error {
	if err := f.token(jsontext.KindBeginObject); err != nil {
		return err
	}
	found := false
	for f.decoder.PeekKind() == jsontext.KindString {
		name, err := f.decoder.ReadToken()
		if err != nil {
			return err
		}
		member := members[name.String()]
		if member == nil {
			return errListing
		}
		found = found || name.String() == required
		if err := f.copy(f.decoder.InputOffset()); err != nil {
			return err
		}
		if err := member(); err != nil {
			return err
		}
	}
	if err := f.token(jsontext.KindEndObject); err != nil {
		return err
	}
	if !found {
		return errListing
	}
	return nil
}

// array copies an array whose elements element copies.
func (f *listingFilter) array(element func() error) error {
	if err := f.token(jsontext.KindBeginArray); err != nil {
		return err
	}
	for f.more() {
		if err := element(); err != nil {
			return err
		}
	}
	return f.token(jsontext.KindEndArray)
}

// more reports whether the current array has another element.
func (f *listingFilter) more() bool {
	kind := f.decoder.PeekKind()
	return kind != jsontext.KindEndArray && kind != jsontext.KindInvalid
}

// unikernels copies an array of unikernels, without those that keep rejects.
func (f *listingFilter) unikernels() error {
	if err := f.token(jsontext.KindBeginArray); err != nil {
		return err
	}
	for first := true; f.more(); {
		unikernel, err := f.decoder.ReadValue()
		if err != nil {
			return err
		}
		name, err := unikernelName(unikernel)
		if err != nil {
			return err
		}
		text := f.input.take(f.decoder.InputOffset())
		if checkLabel("name", name) != nil || !f.keep(strings.ToLower(name)) {
			continue
		}
		if first {
			separator, rest := text[:len(text)-len(unikernel)], text[len(text)-len(unikernel):]
			text = append(bytes.ReplaceAll(separator, []byte(","), nil), rest...)
		}
		first = false
		if _, err := f.output.Write(text); err != nil {
			return err
		}
	}
	return f.token(jsontext.KindEndArray)
}

// unikernelName returns the name of a unikernel in the list.
func unikernelName(unikernel jsontext.Value) (string, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(unikernel, &members, jsontext.AllowInvalidUTF8(true)); err != nil {
		return "", errListingName
	}
	for name := range members {
		if name != "name" && strings.EqualFold(name, "name") {
			return "", errListingName
		}
	}
	name := member{"name", members["name"]}
	if name.value.Kind() != jsontext.KindString {
		return "", errListingName
	}
	return name.text(), nil
}

// scalar copies a value that is neither an object nor an array.
func (f *listingFilter) scalar() error {
	token, err := f.decoder.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		return errListing
	}
	return f.copy(f.decoder.InputOffset())
}

// value copies any value.
func (f *listingFilter) value() error {
	if _, err := f.decoder.ReadValue(); err != nil {
		return err
	}
	return f.copy(f.decoder.InputOffset())
}

// token copies a token of this kind.
func (f *listingFilter) token(kind jsontext.Kind) error {
	token, err := f.decoder.ReadToken()
	switch {
	case err != nil:
		return err
	case token.Kind() != kind:
		return errListing
	}
	return f.copy(f.decoder.InputOffset())
}

// copy copies the input up to an offset.
func (f *listingFilter) copy(end int64) error {
	_, err := f.output.Write(f.input.take(end))
	return err
}
