package mollymawk

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mollygate/mollygate/gate"
)

// form describes one of Mollymawk's multipart forms: fields, optionally followed by one
// file. Mollymawk may interpret an ambiguous form differently than the client intended. It
// crashes on a form with two files, or with a flag that is neither true nor false. It
// accepts a form that lacks the final boundary. So the gate parses each form strictly and
// sends Mollymawk a rewritten one.
type form struct {
	// file is the name of the file's part, which comes last. It is empty if the form has
	// only fields.
	file string
	// required lists the fields that clients must send.
	required []string
	// defaults lists the fields that clients may omit, with their default values. The gate
	// sends these before the client's fields.
	defaults []formField
	// check maps field names to functions that validate a value and return the value to
	// send.
	check map[string]func(value string) (string, error)
	// targets read what the form acts on from its fields.
	targets []reader
}

type formField struct{ name, value string }

// maxFieldBytes is the maximum number of bytes before a form's file. The same limit applies
// to the bytes after the file.
const maxFieldBytes = 64 << 10

// createForm returns the form for /api/unikernel/create.
func (g generation) createForm() *form {
	f := &form{
		file:     "binary",
		required: []string{"albatross_instance", "unikernel_name", "unikernel_config"},
		defaults: []formField{{"molly_csrf", ""}},
		check: map[string]func(string) (string, error){"unikernel_force_create": checkFlag,
			"unikernel_config": checkConfig},
		targets: []reader{instance("albatross_instance"), unikernel("unikernel_name"),
			objectIn("unikernel_config", devices)},
	}
	if g == generation2025 {
		f.required = append(f.required, "unikernel_force_create")
		return f
	}
	f.defaults = append(f.defaults, formField{"deploy_mode", "manual"}, formField{"unikernel_force_create", "false"})
	f.check["unikernel_config"] = withType
	return f
}

// blockForm returns the form for /api/block/create and /api/block/upload.
func blockForm() *form {
	return &form{
		file:     "block_data",
		required: []string{"albatross_instance", "json_data"},
		defaults: []formField{{"molly_csrf", ""}},
		check:    map[string]func(string) (string, error){"json_data": checkConfig},
		targets:  []reader{instance("albatross_instance"), objectIn("json_data", block(bodyBlock))},
	}
}

// adaptUpload implements gate.Route.AdaptUpload.
func (f *form) adaptUpload(u *gate.Upload) error {
	parts, err := newParts(u.ContentType, u.Body, maxFieldBytes)
	if err != nil {
		return err
	}
	r := &formReader{form: f, parts: parts}
	if u.Spool == nil {
		err = r.readToFile()
	} else {
		err = r.readAll()
	}
	if err != nil {
		return r.explain(err)
	}
	u.Targets, u.TargetsErr = r.values().read(f.targets)
	var file io.Reader = fileReader{r}
	if u.Spool != nil {
		file = io.NewSectionReader(u.Spool, r.start, r.length)
	}
	contentType, head, tail := r.write()
	u.ContentType, u.Body = []string{contentType}, io.MultiReader(head, file, strings.NewReader(tail))
	return nil
}

// adaptFields implements gate.Route.Adapt for forms without a file.
func adaptFields(call *gate.Call) error {
	if len(call.Body) == 0 {
		return nil
	}
	parts, err := newParts(call.ContentType, bytes.NewReader(call.Body), -1)
	if err != nil {
		return err
	}
	r := &formReader{form: new(form), parts: parts}
	if err := r.readAll(); err != nil {
		return err
	}
	contentType, head, tail := r.write()
	call.ContentType, call.Body = []string{contentType}, append(head.Bytes(), tail...)
	return nil
}

// formReader reads a single form.
type formReader struct {
	form   *form
	parts  *parts
	fields []formField
	// part describes the file. It is valid once hasFile is set.
	part    part
	hasFile bool
	// start and length are the file's position in the body and its size, in bytes. Only
	// readAll sets them.
	start, length int64
}

// readToFile reads the fields up to the file, which must come last.
func (r *formReader) readToFile() error {
	for !r.hasFile {
		if err := r.readPart(); err != nil {
			return r.fileMissing(err)
		}
	}
	if missing := r.missing(); missing != "" {
		return invalid("Mollymawk reads a form in order: send %s before %s.", missing, r.form.file)
	}
	return nil
}

// readAll reads the whole form. Fields may follow the file.
func (r *formReader) readAll() error {
	for {
		reached := r.hasFile
		err := r.readPart()
		switch {
		case errors.Is(err, io.EOF) && (r.hasFile || r.form.file == ""):
			if missing := r.missing(); missing != "" {
				return invalid("The form is missing %s.", missing)
			}
			return nil
		case err != nil:
			return r.fileMissing(err)
		case r.hasFile && !reached:
			if err := r.skipFile(); err != nil {
				return err
			}
		}
	}
}

// fileMissing turns io.EOF into an error that names the missing file. It returns any other
// error unchanged.
func (r *formReader) fileMissing(err error) error {
	if errors.Is(err, io.EOF) {
		return invalid("The form is missing the part %s.", r.form.file)
	}
	return err
}

// skipFile advances to the end of the file and records its position.
func (r *formReader) skipFile() error {
	r.start = r.parts.offset()
	buffer := make([]byte, partsBuffer)
	for {
		n, err := r.parts.Read(buffer)
		r.length += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			r.parts.source.left = maxFieldBytes
			return nil
		case err != nil:
			return err
		}
	}
}

// readPart reads a field, or advances to the beginning of the file.
func (r *formReader) readPart() error {
	header, err := r.parts.next()
	if err != nil {
		return err
	}
	part, err := readPart(header)
	if err != nil {
		return err
	}
	if r.form.file != "" && part.name == r.form.file {
		if r.hasFile {
			return errTwice(part.name)
		}
		r.part, r.hasFile = part, true
		r.parts.source.left = -1
		return nil
	}
	if r.has(part.name) {
		return errTwice(part.name)
	}
	value, err := io.ReadAll(r.parts)
	if err != nil {
		return err
	}
	text := string(value)
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return invalid("The part %q must be UTF-8 text without NUL bytes.", part.name)
	}
	if check := r.form.check[part.name]; check != nil {
		if text, err = check(text); err != nil {
			return invalid("The part %q: %v", part.name, err)
		}
	}
	r.fields = append(r.fields, formField{part.name, text})
	return nil
}

func errTwice(name string) error { return invalid("The form has the part %q twice.", name) }

func (r *formReader) has(name string) bool {
	return slices.ContainsFunc(r.fields, func(f formField) bool { return f.name == name })
}

// values returns a copy of the fields. Changes to it aren't forwarded: the fields keep the
// client's spelling, because forms that can be read in several ways are refused.
func (r *formReader) values() values {
	v := values{place: "The form"}
	for _, field := range r.fields {
		v.members = append(v.members, quotedMember(field.name, field.value))
	}
	return v
}

// missing returns the names of the missing required fields, separated by commas.
func (r *formReader) missing() string {
	var names []string
	for _, name := range r.form.required {
		if !r.has(name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// explain replaces errFieldsTooLarge with an error for the client. It returns any other
// error unchanged.
func (r *formReader) explain(err error) error {
	if errors.Is(err, errFieldsTooLarge) {
		return invalid("The form's fields are larger than %d KiB. Send large data as %s, after the fields.",
			maxFieldBytes>>10, r.form.file)
	}
	return err
}

// finish reads the rest of the form. It returns io.EOF if nothing follows the file.
func (r *formReader) finish() error {
	more, err := r.parts.more()
	switch {
	case err != nil:
		return err
	case more:
		return invalid("The form continues after %s. Send %s last, and only once.", r.form.file, r.form.file)
	}
	return r.parts.end()
}

// write returns the rewritten form's content type, and the bytes before and after the
// file's content.
func (r *formReader) write() (contentType string, head *bytes.Buffer, tail string) {
	head = new(bytes.Buffer)
	w := multipart.NewWriter(head)
	fields := slices.DeleteFunc(slices.Clone(r.form.defaults), func(f formField) bool { return r.has(f.name) })
	for _, field := range append(fields, r.fields...) {
		_ = w.WriteField(field.name, field.value) // a bytes.Buffer never fails
	}
	if r.hasFile {
		_, _ = w.CreatePart(r.part.header())
	}
	tail = "--" + w.Boundary() + "--\r\n"
	if r.hasFile || len(fields)+len(r.fields) > 0 {
		tail = "\r\n" + tail
	}
	return w.FormDataContentType(), head, tail
}

var (
	plainFileName    = regexp.MustCompile(`^[A-Za-z0-9_. ()+,@=-]{1,128}$`)
	plainContentType = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9.+-]+$`)
)

// header returns the header to send for a file. It replaces a file name or content type
// that contains unusual characters.
func (p part) header() textproto.MIMEHeader {
	disposition := `form-data; name="` + p.name + `"`
	header := make(textproto.MIMEHeader)
	if p.fileName != "" {
		if !plainFileName.MatchString(p.fileName) {
			p.fileName = p.name
		}
		disposition += `; filename="` + p.fileName + `"`
	}
	if p.contentType != "" {
		if !plainContentType.MatchString(p.contentType) {
			p.contentType = "application/octet-stream"
		}
		header["Content-Type"] = []string{p.contentType}
	}
	header["Content-Disposition"] = []string{disposition}
	return header
}

// fileReader reads a form's file. If more parts follow the file, Read returns an error
// instead of io.EOF.
type fileReader struct{ *formReader }

// Read implements io.Reader.
func (f fileReader) Read(b []byte) (int, error) {
	n, err := f.parts.Read(b)
	if errors.Is(err, io.EOF) {
		err = f.finish()
	}
	return n, err
}
