package mollymawk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mollygate/mollygate/gate"
)

// formPart returns a form part that starts with the boundary b.
func formPart(disposition, content string, header ...string) string {
	return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n" + strings.Join(append(header, ""), "\r\n") +
		"\r\n" + content + "\r\n"
}

// formOf returns a form with the boundary b and these fields, each written as name=value.
func formOf(fields ...string) (body string) {
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		if name == "binary" || name == "block_data" {
			body += formPart(`name="`+name+`"; filename="f.bin"`, value, "Content-Type: application/octet-stream")
		} else {
			body += formPart(`name="`+name+`"`, value)
		}
	}
	return body + "--b--\r\n"
}

const formType = `multipart/form-data; boundary=b`

// adaptForm returns the parts that the gate sends to the backend, each as name=value, or an
// error, which may come from reading the last part.
func adaptForm(f *form, contentType []string, body string, spool bool, through func(io.Reader) io.Reader) (
	parts []string, err error) {
	u := gate.Upload{ContentType: contentType, Body: through(strings.NewReader(body))}
	if spool {
		u.Spool = strings.NewReader(body)
	}
	if err := f.adaptUpload(&u); err != nil {
		return nil, err
	}
	sent, err := io.ReadAll(u.Body)
	if err != nil {
		return nil, fmt.Errorf("while streaming: %w", err)
	}
	return readForm(u.ContentType, sent)
}

func readForm(contentType []string, sent []byte) (parts []string, err error) {
	_, parameters, err := mime.ParseMediaType(contentType[0])
	if err != nil {
		return nil, err
	}
	reader := multipart.NewReader(bytes.NewReader(sent), parameters["boundary"])
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		text := part.FormName() + "=" + string(value)
		if part.FileName() != "" {
			text = part.FileName() + ":" + text
		}
		if kind := part.Header.Get("Content-Type"); kind != "" {
			text = kind + ":" + text
		}
		parts = append(parts, text)
	}
}

const (
	config = `{"typ":"solo5","cpuids":[0]}`
	octets = "application/octet-stream:f.bin:"
)

var wholeCreate = []string{"albatross_instance=i", "unikernel_name=u", "unikernel_config=" + config,
	"unikernel_force_create=true", "molly_csrf=c", "deploy_mode=manual", "binary=image"}

func createWith(name, value string) []string {
	fields := slices.Clone(wholeCreate)
	i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, name+"=") })
	fields[i] = name + "=" + value
	return fields
}

func createWithout(name string) []string {
	return slices.DeleteFunc(slices.Clone(wholeCreate), func(f string) bool { return strings.HasPrefix(f, name+"=") })
}

func TestFormRewritten(t *testing.T) {
	t.Parallel()
	current, old := current.createForm(), generation2025.createForm()
	same := append(slices.Clone(wholeCreate[:6]), octets+"binary=image")
	boundaryInFile := "\r\n--\r\n--a\r\n\r\n-\r\n--"
	for name, tt := range map[string]struct {
		form       *form
		body       string
		want       []string
		onlySpools bool
	}{
		"whole":       {form: current, body: formOf(wholeCreate...), want: same},
		"whole, 2025": {form: old, body: formOf(wholeCreate...), want: same},
		"defaults": {form: current, body: formOf("albatross_instance=i", "unikernel_name=u", "unikernel_config="+config,
			"binary=image"),
			want: []string{"molly_csrf=", "deploy_mode=manual", "unikernel_force_create=false", "albatross_instance=i",
				"unikernel_name=u", "unikernel_config=" + config, octets + "binary=image"}},
		"defaults, 2025": {form: old, body: formOf(createWithout("molly_csrf")...),
			want: slices.Concat([]string{"molly_csrf="}, wholeCreate[:4], wholeCreate[5:6],
				[]string{octets + "binary=image"})},
		"handbook's quotes": {form: current, body: formOf(createWith("molly_csrf", "''")...),
			want: slices.Concat(wholeCreate[:4],
				[]string{"molly_csrf=''", "deploy_mode=manual", octets + "binary=image"})},
		"no typ": {form: current, body: formOf(createWith("unikernel_config", "\n { \"cpuids\" : [0] }")...),
			want: slices.Concat(wholeCreate[:2], []string{"unikernel_config=\n {\"typ\":\"solo5\", \"cpuids\" : [0] }"},
				wholeCreate[3:6], []string{octets + "binary=image"})},
		"no typ in {}": {form: current, body: formOf(createWith("unikernel_config", "{}")...),
			want: slices.Concat(wholeCreate[:2], []string{`unikernel_config={"typ":"solo5"}`}, wholeCreate[3:6],
				[]string{octets + "binary=image"})},
		"no typ, 2025": {form: old, body: formOf(createWith("unikernel_config", `{"cpuid":0}`)...),
			want: slices.Concat(wholeCreate[:2], []string{`unikernel_config={"cpuid":0}`}, wholeCreate[3:6],
				[]string{octets + "binary=image"})},
		"another typ": {form: current, body: formOf(createWith("unikernel_config", `{"typ":null}`)...),
			want: slices.Concat(wholeCreate[:2], []string{`unikernel_config={"typ":null}`}, wholeCreate[3:6],
				[]string{octets + "binary=image"})},
		"builder": {form: current, body: formOf("albatross_instance=i", "unikernel_name=u", "unikernel_config="+config,
			"deploy_mode=builder", "builder_job=j", "binary="),
			want: []string{"molly_csrf=", "unikernel_force_create=false", "albatross_instance=i", "unikernel_name=u",
				"unikernel_config=" + config, "deploy_mode=builder", "builder_job=j", octets + "binary="}},
		"partial boundary in the file": {form: current, body: formOf(createWith("binary", boundaryInFile)...),
			want: slices.Concat(wholeCreate[:6], []string{octets + "binary=" + boundaryInFile})},
		"no line end after the form": {form: current, body: strings.TrimSuffix(formOf(wholeCreate...), "\r\n"),
			want: same},
		"unknown field": {form: current, body: formOf(append([]string{"later=1"}, wholeCreate...)...),
			want: append([]string{"later=1"}, same...)},
		"field from a file": {form: current, body: formPart(`name="albatross_instance"; filename="x.txt"`, "i",
			"Content-Type: text/plain") + formOf(wholeCreate[1:]...), want: same},
		"undefined": {form: blockForm(),
			body: strings.TrimSuffix(formOf("molly_csrf=c", "albatross_instance=i", "json_data={}"), "--b--\r\n") +
				formPart(`name="block_data"`, "undefined") + "--b--\r\n",
			want: []string{"molly_csrf=c", "albatross_instance=i", "json_data={}", "block_data=undefined"}},
		"file first": {form: blockForm(), onlySpools: true, body: formOf("block_data=data", "albatross_instance=i",
			"json_data={}"), want: []string{"molly_csrf=", "albatross_instance=i", "json_data={}",
			octets + "block_data=data"}},
		"file between": {form: blockForm(), onlySpools: true, body: formOf("albatross_instance=i", "block_data=data",
			"json_data={}"), want: []string{"molly_csrf=", "albatross_instance=i", "json_data={}",
			octets + "block_data=data"}},
		"file names": {form: blockForm(), body: strings.TrimSuffix(formOf("albatross_instance=i", "json_data={}"),
			"--b--\r\n") + formPart(`name="block_data"; filename="a\"b/ü.img"`, "data",
			"Content-Type: text/plain; charset=x", "Content-Transfer-Encoding: binary", "X-More: y") + "--b--\r\n",
			want: []string{"molly_csrf=", "albatross_instance=i", "json_data={}",
				"application/octet-stream:block_data:block_data=data"}},
	} {
		for reader, through := range map[string]func(io.Reader) io.Reader{
			"in large reads": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			for _, spool := range []bool{false, true} {
				if tt.onlySpools && !spool {
					continue
				}
				got, err := adaptForm(tt.form, []string{formType}, tt.body, spool, through)
				if err != nil || !slices.Equal(got, tt.want) {
					t.Errorf("%s, %s, spool %v: got %q and error %v, want %q", name, reader, spool, got, err, tt.want)
				}
			}
		}
	}
}

// refusedForms returns invalid bodies for createForm, each with text that the expected
// error contains.
func refusedForms() map[string][2]string {
	whole := formOf(wholeCreate...)
	begin := func(part string) string { return part + whole }
	header := func(line string) string { return begin(formPart(`name="x"`, "y", line)) }
	forms := map[string][2]string{
		"empty":                    {"", "final boundary"},
		"text before":              {"text\r\n" + whole, "RFC 7578"},
		"line end before":          {"\r\n" + whole, "RFC 7578"},
		"text after":               {whole + "x", "after its final"},
		"line ends after":          {whole + "\r\n", "after its final"},
		"a form after":             {whole + whole, "after its final"},
		"LF only":                  {strings.ReplaceAll(whole, "\r\n", "\n"), "RFC 7578"},
		"longer boundary":          {strings.Replace(whole, "\r\n--b\r\n", "\r\n--bc\r\n", 1), "RFC 7578"},
		"space after the boundary": {strings.Replace(whole, "--b\r\n", "--b \r\n", 1), "RFC 7578"},
		"one dash at the end":      {strings.TrimSuffix(whole, "-\r\n"), ""},
		"no last boundary":         {strings.TrimSuffix(whole, "--b--\r\n"), ""},
		"no file":                  {formOf(wholeCreate[:6]...), "missing the part binary"},
		"no name":                  {begin("--b\r\nContent-Disposition: form-data\r\n\r\ny\r\n"), "one plain name"},
		"no disposition":           {begin("--b\r\nX: y\r\n\r\ny\r\n"), "exactly one Content-Disposition"},
		"no header":                {begin("--b\r\n\r\ny\r\n"), "exactly one Content-Disposition"},
		"two dispositions": {begin(formPart(`name="x"`, "y", `Content-Disposition: form-data; name="z"`)),
			"exactly one Content-Disposition"},
		"two names": {begin(formPart(`name="x"; name="unikernel_force_create"`, "y")),
			"one plain name"},
		"two names, other case": {begin(formPart(`name="x"; NAME="unikernel_force_create"`, "y")),
			"one plain name"},
		"encoded name":                 {begin(formPart(`name*=utf-8''x`, "y")), "one plain name"},
		"encoded name and a plain one": {begin(formPart(`name="x"; name*=utf-8''z`, "y")), "one plain name"},
		"encoded name with a space":    {begin(formPart(`name="x"; name *= utf-8''z`, "y")), "one plain name"},
		"name in pieces":               {begin(formPart(`name*0="x"; name*1="z"`, "y")), "one plain name"},
		"escaped name":                 {begin(formPart(`name="\x"; `, "y")), "one plain name"},
		"attachment": {begin("--b\r\nContent-Disposition: attachment; name=x\r\n\r\ny\r\n"),
			"one plain name"},
		"no semicolon":     {begin(formPart(`name="x" name="z"`, "y")), "one plain name"},
		"empty name":       {begin(formPart(`name=""`, "y")), "one plain name"},
		"base64":           {header("Content-Transfer-Encoding: base64"), "Transfer-Encoding"},
		"quoted-printable": {header("Content-Transfer-Encoding:  Quoted-Printable "), "Transfer-Encoding"},
		"unknown encoding": {header("content-transfer-encoding: x"), "Transfer-Encoding"},
		"nested":           {header("Content-Type: Multipart/mixed; boundary=c"), "has nested parts"},
		"message":          {header("Content-Type: message/rfc822"), "has nested parts"},
		"two types": {header("Content-Type: text/plain\r\nContent-Type: multipart/mixed"),
			"two Content-Type"},
		"NUL in the header": {header("X: a\x00b"), ""},
		"NUL in a name":     {begin(formPart("name=\"x\x00\"", "y")), ""},
		"NUL in a field":    {formOf(createWith("unikernel_name", "u\x00v")...), "must be UTF-8 text"},
		"invalid UTF-8":     {formOf(createWith("unikernel_name", "u\xff")...), "must be UTF-8 text"},
		"boundary after header": {begin("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n--b\r\n"),
			"RFC 7578"},
		"field twice":         {begin(formPart(`name="deploy_mode"`, "builder")), `"deploy_mode" twice`},
		"unknown field twice": {begin(formPart(`name="x"`, "1") + formPart(`name="x"`, "2")), `"x" twice`},
		"file twice": {strings.TrimSuffix(whole, "--b--\r\n") + formPart(`name="binary"`, "again") +
			"--b--\r\n", ""},
		"field after the file, twice": {strings.TrimSuffix(whole, "--b--\r\n") +
			formPart(`name="unikernel_force_create"`, "false") + "--b--\r\n", ""},
		"flag":                  {formOf(createWith("unikernel_force_create", "TRUE")...), "true or false"},
		"flag, empty":           {formOf(createWith("unikernel_force_create", "")...), "true or false"},
		"flag, with a line end": {formOf(createWith("unikernel_force_create", "true\n")...), "true or false"},
		"NaN":                   {formOf(createWith("unikernel_config", `{"memory":NaN}`)...), "JSON"},
		"member twice":          {formOf(createWith("unikernel_config", `{"typ":1,"typ":2}`)...), "duplicate"},
		"deep":                  {formOf(createWith("unikernel_config", strings.Repeat("[", 1000))...), "nested"},
		"no JSON":               {formOf(createWith("unikernel_config", " \n")...), "JSON is missing"},
		"comma":                 {formOf(createWith("unikernel_config", `{"typ":"solo5",}`)...), "comma"},
		"large fields": {formOf(append([]string{"x=" + strings.Repeat("x", maxFieldBytes)}, wholeCreate...)...),
			"larger than 64 KiB"},
		"large header": {header("X: " + strings.Repeat("x", maxFieldBytes)), "larger than 64 KiB"},
	}
	for _, name := range []string{"albatross_instance", "unikernel_name", "unikernel_config"} {
		forms["without "+name] = [2]string{formOf(createWithout(name)...), name}
	}
	return forms
}

func TestFormRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range refusedForms() {
		for _, spool := range []bool{false, true} {
			parts, err := adaptForm(current.createForm(), []string{formType}, tt[0], spool, iotest.HalfReader)
			body, ok := errors.AsType[*gate.BodyError](err)
			if !ok || !strings.Contains(body.Detail, tt[1]) {
				t.Errorf("%s, spool %v: got %q and error %v, want an error containing %q",
					name, spool, parts, err, tt[1])
			}
			if spool && err != nil && strings.HasPrefix(err.Error(), "while streaming") {
				t.Errorf("%s: a spooled form was refused only while streaming", name)
			}
		}
	}
	for _, contentType := range [][]string{
		nil, {}, {""}, {"text/plain"}, {"multipart/form-data"}, {formType, formType}, {"multipart/mixed; boundary=b"},
		{"multipart/form-data; boundary=b; boundary=c"}, {"multipart/form-data; boundary*=b"},
		{`multipart/form-data; boundary="b\"c"`}, {"multipart/form-data; boundary=\"b \""},
	} {
		if _, err := adaptForm(current.createForm(), contentType, formOf(wholeCreate...), false,
			iotest.DataErrReader); !errors.Is(err, errNoForm) {
			t.Errorf("Content-Type %q: got error %v, want %v", contentType, err, errNoForm)
		}
	}
}

// TestFormOrder checks that, without a spool, a form with a required field after the file
// is refused with an error that explains the correct order.
func TestFormOrder(t *testing.T) {
	t.Parallel()
	const want = "Mollymawk reads a form in order: send albatross_instance, json_data before block_data."
	_, err := adaptForm(blockForm(), []string{formType},
		formOf("block_data=data", "albatross_instance=i", "json_data={}"), false, iotest.DataErrReader)
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	_, err = adaptForm(blockForm(), []string{formType},
		formOf("albatross_instance=i", "json_data={}", "block_data=data", "molly_csrf=c"), false, iotest.DataErrReader)
	if err == nil || !strings.Contains(err.Error(), "continues after block_data") {
		t.Errorf("form with a field after the file: got error %v, want one saying that the form continues", err)
	}
}

// TestFormTruncated checks that a form is refused no matter where it is truncated.
func TestFormTruncated(t *testing.T) {
	t.Parallel()
	whole := strings.TrimSuffix(formOf(wholeCreate...), "\r\n")
	for end := range len(whole) {
		for _, spool := range []bool{false, true} {
			if parts, err := adaptForm(current.createForm(), []string{formType}, whole[:end], spool,
				iotest.HalfReader); err == nil {
				t.Fatalf("form truncated after %d bytes, spool %v: got %q, want an error", end, spool, parts)
			}
		}
	}
}

// TestFormReadError checks that errors from reading the body are returned unchanged.
func TestFormReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for end := range len(formOf(wholeCreate...)) {
		through := func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, int64(end)), iotest.ErrReader(broken))
		}
		if _, err := adaptForm(current.createForm(), []string{formType}, formOf(wholeCreate...), end%2 == 0,
			through); !errors.Is(err, broken) {
			t.Fatalf("read error after %d bytes: got %v, want %v", end, err, broken)
		}
	}
}

func TestFormFields(t *testing.T) {
	t.Parallel()
	call := gate.Call{ContentType: []string{formType}, Body: []byte(formOf("unikernel_name=u", "command=L"))}
	if err := adaptFields(&call); err != nil {
		t.Fatal(err)
	}
	if parts, err := readForm(call.ContentType, call.Body); err != nil ||
		!slices.Equal(parts, []string{"unikernel_name=u", "command=L"}) {
		t.Errorf("got %q and error %v, want unikernel_name=u and command=L", parts, err)
	}
	for name, body := range map[string]string{
		"twice":      formOf("command=L", "command=M"),
		"two names":  formPart(`name="x"; name="y"`, "z") + "--b--\r\n",
		"base64":     formPart(`name="x"`, "z", "Content-Transfer-Encoding: base64") + "--b--\r\n",
		"truncated":  formPart(`name="x"`, "z"),
		"urlencoded": "x=y",
	} {
		if err := adaptFields(&gate.Call{ContentType: []string{formType}, Body: []byte(body)}); err == nil {
			t.Errorf("%s: the form was accepted, want an error", name)
		}
	}
	if err := adaptFields(new(gate.Call)); err != nil {
		t.Errorf("request without a body: got error %v, want none", err)
	}
}

func TestResolver(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		`"192.0.2.1"`: true, `"192.0.2.1:53"`: true, `"2001:db8::1"`: true, `"[2001:db8::1]:5353"`: true, `null`: true,
		`""`: true, `1`: true,
		`":-5"`: false, `":x"`: false, `"192.0.2.1:-5"`: false, `"192.0.2.1:x"`: false, `"192.0.2.1:"`: false,
		`"192.0.2.1:0x35"`: false, `"192.0.2.1:65536"`: false,
		`"[2001:db8::1]:-5"`: false, `"192.0.2.1:53:-5"`: false, `"192.0.2.1\u003ax"`: false,
	} {
		body := `{"unikernel_name":"u","dns_liveliness":{"dns_name":"example.com","dns_address":` + address + `}}`
		if err := checkUpdate(&gate.Call{Body: []byte(body)}); (err == nil) != want {
			t.Errorf("checking address %s: got error %v, want accepted %v", address, err, want)
		}
	}
	for _, body := range []string{"", "[]", "{}", `{"dns_liveliness":null}`, `{"dns_liveliness":"x"}`} {
		if err := checkUpdate(&gate.Call{Body: []byte(body)}); err != nil {
			t.Errorf("checking body %s: got error %v, want none", body, err)
		}
	}
}

// FuzzForm checks that the gate sends accepted forms without duplicate names and sends the
// same form whether it streams or spools.
func FuzzForm(f *testing.F) {
	for _, form := range refusedForms() {
		f.Add(form[0])
	}
	f.Add(formOf(wholeCreate...))
	f.Fuzz(func(t *testing.T, body string) {
		streamed, err := adaptForm(current.createForm(), []string{formType}, body, false, iotest.HalfReader)
		if err != nil {
			return
		}
		spooled, err := adaptForm(current.createForm(), []string{formType}, body, true, iotest.OneByteReader)
		if err != nil || !slices.Equal(streamed, spooled) {
			t.Errorf("spooling got %q and error %v, want %q, as when streaming", spooled, err, streamed)
		}
		names := make(map[string]bool)
		for _, part := range streamed {
			name, _, _ := strings.Cut(part, "=")
			name = name[strings.LastIndex(name, ":")+1:]
			if names[name] {
				t.Errorf("the gate sent the part %q twice", name)
			}
			names[name] = true
		}
	})
}

// endless is a body that repeats a text forever.
type endless struct {
	text string
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.read += int64(n)
	return n, nil
}

// TestEndlessHeader checks that endless part headers before or after the file aren't read
// into memory.
func TestEndlessHeader(t *testing.T) {
	t.Parallel()
	fields := formPart(`name="albatross_instance"`, "a") + formPart(`name="json_data"`, "{}")
	file := formPart(`name="block_data"`, "x")
	for name, begin := range map[string]string{"first": "--b\r\n", "before the file": fields + "--b\r\n",
		"after the file": fields + file + "--b\r\n"} {
		for _, text := range []string{"x", "x:\r\n", "x: y\r\n"} {
			rest := &endless{text: text}
			u := gate.Upload{ContentType: []string{"multipart/form-data; boundary=b"},
				Body: io.MultiReader(strings.NewReader(begin), rest)}
			err := blockForm().adaptUpload(&u)
			if err == nil {
				_, err = io.Copy(io.Discard, u.Body)
			}
			if _, ok := errors.AsType[*gate.BodyError](err); !ok || rest.read > maxFieldBytes+partsBuffer {
				t.Errorf("%s, %q: got error %v after reading %d bytes, want an early refusal",
					name, text, err, rest.read)
			}
		}
	}
}
