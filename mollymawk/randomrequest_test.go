package mollymawk_test

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
)

// request is a random request.
type request struct {
	method, path, query string
	contentType         []string
	body                []byte
	// spool reports whether the gate stores an upload on disk first.
	spool bool
}

// request returns a request for a random route. Some routes occur in only one generation.
func (r random) request() request {
	q := request{method: "POST", spool: r.chance(50)}
	word := pick(r, "block", "volume")
	switch r.IntN(11) {
	case 0:
		q.path, q.body = "/api/unikernel/destroy", r.named("name", nil)
	case 1, 2:
		q.path = "/api/unikernel/restart"
		r.restart(&q)
	case 3:
		q.path = "/api/unikernel/update"
		r.update(&q)
	case 4:
		q.path, q.body = "/api/unikernel/rollback", r.named("unikernel_name", nil)
	case 5:
		q.method, q.path, q.query = "GET", "/api/unikernel/console", r.queryOf(r.queryNames())
	case 6:
		q.path, q.query = "/api/unikernel/scaling/update", r.queryOf(r.queryNames())
		r.form(&q, []field{{name: "should_scale", value: "on"}, {name: "max_instances", value: "2"}})
	case 7:
		q.path, q.body = "/api/"+word+"/delete", r.named("block_name", nil)
	case 8:
		q.path = "/api/" + word + "/download"
		q.body = r.named("block_name", []pair{{"compression_level", pick(r, "0", "0", "0", "5", "null")}})
	case 9:
		q.path = "/api/" + word + pick(r, "/create", "/upload")
		r.form(&q, r.blockFields())
	case 10:
		q.path = "/api/unikernel/create"
		r.form(&q, r.createFields())
	}
	if q.query == "" && r.chance(5) {
		q.query = r.queryOf(r.queryNames())
	}
	if len(q.body) > 0 && r.chance(4) {
		r.damage(q.body)
	}
	return q
}

// damage changes one byte.
func (r random) damage(body []byte) {
	const bytes = "\x00\t\n\r \"#&',-/:;=[\\]{}azAZ\x7f\xff"
	body[r.IntN(len(body))] = bytes[r.IntN(len(bytes))]
}

// named returns a body with an instance and one other name.
func (r random) named(other string, more []pair) []byte {
	pairs := []pair{{"albatross_instance", r.quote(r.instance())}, {other, r.quote(r.name(names))}}
	return []byte(r.object(append(pairs, more...)))
}

func (r random) queryNames() []pair {
	return []pair{{"instance", r.instance()}, {"unikernel", r.name(names)}}
}

// restart makes a restart that has its names in the query, in the body or in both.
func (r random) restart(q *request) {
	var pairs []pair
	where := r.IntN(20)
	if where < 10 || where == 19 {
		q.query = r.queryOf(r.queryNames())
	}
	if where >= 10 {
		pairs = []pair{{"name", r.quote(r.name(names))}, {"albatross_instance", r.quote(r.instance())}}
	}
	if r.chance(50) {
		pairs = append(pairs, pair{"arguments", r.quote(r.config())})
	}
	q.body = []byte(r.object(pairs))
}

func (r random) update(q *request) {
	pairs := []pair{
		{"job", pick(r, `"hello"`, `"website"`, `"shop"`)}, {"to_be_updated_unikernel", r.quote(pick(r, names...))},
		{"currently_running_unikernel", r.quote(pick(r, names...))}, {"http_liveliness_address", "null"},
		{"dns_liveliness", pick(r, "null", `{"dns_address":"192.0.2.1","dns_name":"shop.example"}`)},
	}
	if r.chance(30) {
		pairs = append(pairs, pair{"unikernel_arguments", pick(r, "null", "null", r.config())})
	}
	q.body = r.named("unikernel_name", pairs)
}

// queryOf returns a query in a random spelling, with random changes.
func (r random) queryOf(pairs []pair) string {
	for range pick(r, 0, 0, 0, 1, 1, 2) {
		i := r.IntN(len(pairs))
		switch r.IntN(6) {
		case 0:
			pairs = append(pairs, pair{pairs[i].name, r.name(names)}) // a duplicate
		case 1:
			pairs = append(pairs, pair{r.respell(pairs[i].name), r.name(names)})
		case 2:
			pairs[i].name = r.respell(pairs[i].name)
		case 3:
			pairs = append(pairs, pair{pick(r, "x", "", "name", "instances", "albatross_instance"), r.name(names)})
		case 4:
			pairs[i].value = r.name(names)
		case 5:
			r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		}
	}
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteString("&")
		}
		b.WriteString(r.escape(p.name) + "=" + r.escape(p.value))
		if r.chance(2) {
			b.WriteString(pick(r, "&", "&&", ";instance=edge", "#", "#&instance=edge", "%", "%zz", "&%", "&=",
				"+", ","))
		}
	}
	return b.String()
}

// escape escapes text for a query, with more escapes than necessary or rarely fewer.
func (r random) escape(text string) string {
	switch {
	case r.chance(10):
		var b strings.Builder
		for _, c := range []byte(text) {
			const digits = "0123456789abcdef"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
		return b.String()
	case r.chance(2):
		return strings.NewReplacer(" ", "+", "\n", "", "\x00", "", "&", "%26").Replace(text)
	}
	return url.QueryEscape(text)
}

// field is a part of a form.
type field struct {
	name, value string
	file        bool
}

func (r random) createFields() []field {
	return []field{
		{name: "albatross_instance", value: r.instance()}, {name: "unikernel_name", value: r.name(names)},
		{name: "unikernel_config", value: r.config()},
		{name: "unikernel_force_create", value: pick(r, "true", "false")}, {name: "molly_csrf"},
		{name: "deploy_mode", value: pick(r, "builder", "builder", "manual")},
		{name: "builder_job", value: pick(r, "hello", "shop")}, {name: "binary", value: "image", file: true},
	}
}

func (r random) blockFields() []field {
	data := r.object([]pair{{"block_name", r.quote(r.name(names))}, {"block_size", "1"}, {"block_compressed", "false"}})
	return []field{{name: "albatross_instance", value: r.instance()}, {name: "molly_csrf"},
		{name: "json_data", value: data}, {name: "block_data", value: "data", file: true}}
}

// form sets a request's body to a form in a random spelling, with random changes.
func (r random) form(q *request, fields []field) {
	for range pick(r, 0, 0, 0, 1, 1, 2) {
		fields = r.mutateForm(slices.Clone(fields))
	}
	boundary := pick(r, "b", "b", "----x", "a'b", "0123456789")
	q.contentType = []string{"multipart/form-data; boundary=" + boundary}
	if r.chance(4) {
		q.contentType = pick(r, []string{`multipart/form-data; boundary="` + boundary + `"`},
			[]string{"Multipart/Form-Data; Boundary=" + boundary},
			[]string{"multipart/form-data; charset=utf-16; boundary=" + boundary},
			[]string{"multipart/form-data; boundary=c; boundary=" + boundary},
			[]string{"multipart/form-data; boundary*=utf-8''" + boundary},
			[]string{"multipart/form-data; boundary=" + boundary, "multipart/form-data; boundary=c"},
			[]string{"application/json"}, nil)
	}
	var b bytes.Buffer
	if r.chance(1) {
		b.WriteString("preamble\r\n")
	}
	for _, f := range fields {
		b.WriteString("--" + boundary + "\r\n" + r.partHeader(f) + "\r\n" + f.value + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	if r.chance(1) {
		b.WriteString(b.String())
	}
	q.body = b.Bytes()
}

// mutateForm changes a form's fields.
func (r random) mutateForm(fields []field) []field {
	i := r.IntN(len(fields))
	other := field{name: fields[i].name, value: r.name(names), file: fields[i].file}
	switch r.IntN(7) {
	case 0:
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	case 1:
		last := len(fields) - 1
		r.Shuffle(last, func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	case 2:
		return slices.Insert(fields, r.IntN(len(fields)+1), other) // a duplicate
	case 3:
		other.name = pick(r, "x", "name", "instance", "block_name", r.respell(other.name))
		return slices.Insert(fields, r.IntN(len(fields)), other)
	case 4:
		fields[i].name = r.respell(fields[i].name)
	case 5:
		return slices.Delete(fields, i, i+1)
	case 6:
		fields[i].value += pick(r, "", "\n", " ", "\r\n", "\x00", "\xff")
	}
	return fields
}

// partHeader returns a part's header, sometimes in an unusual spelling.
func (r random) partHeader(f field) string {
	header := `Content-Disposition: form-data; name="` + f.name + "\"\r\n"
	if f.file {
		header = `Content-Disposition: form-data; name="` + f.name + `"; filename="` +
			pick(r, "f.bin", "f.bin", `a\"b`, "ü", `x; name=albatross_instance`) + "\"\r\n" +
			"Content-Type: application/octet-stream\r\n"
	}
	if !r.chance(3) {
		return header
	}
	return pick(r,
		"Content-Disposition: form-data; name="+f.name+"\r\n",
		`content-disposition:form-data;name="`+f.name+"\";\r\n",
		`Content-Disposition: form-data; name="x"; name="`+f.name+"\"\r\n",
		`Content-Disposition: form-data; name="`+f.name+"\"; filename=\"x.txt\"\r\n",
		`Content-Disposition: form-data; name*=utf-8''`+f.name+"\r\n",
		"Content-Disposition: form-data;\r\n name=\""+f.name+"\"\r\n",
		"Content-Disposition: form-data; name=\"x\"\r\n"+header,
		header+"Content-Transfer-Encoding: base64\r\n",
		header+"Content-Transfer-Encoding: 8bit\r\n",
		header+"Content-Type: text/plain; charset=utf-16\r\n",
		header+"Content-Type: multipart/mixed; boundary=c\r\n",
		strings.ReplaceAll(header, "\r\n", "\n"))
}
