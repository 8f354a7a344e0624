package mollymawktest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CrashingRequests returns requests that crash Mollymawk, for testing that a front end
// blocks them. Each key describes what is wrong with the request. Requests that need
// authentication contain either token, or cookie and its CSRF value, csrf. The user must
// have a running unikernel "hello" and a block "v1" on the instance "default".
func CrashingRequests(token, cookie, csrf string) map[string]string {
	requests := make(map[string]string)
	for name, request := range crashRequests {
		requests[name] = fill(request, token, cookie, csrf)
	}
	return requests
}

// crashRequests are requests that crash Mollymawk. $T is replaced with a token, $C with a
// cookie and $X with the cookie's CSRF value.
var crashRequests = map[string]string{
	// Framing: H1 reports the parse error, and the handler responds afterwards.
	"chunk extension":      message("POST", "/api/login", "", withChunks) + "2;x\r\n{}\r\n0\r\n\r\n",
	"chunk size 0x":        message("POST", "/api/login", "", withChunks) + "0x2\r\n{}\r\n0\r\n\r\n",
	"chunk size too large": message("POST", "/api/register", "", withChunks) + "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
	"chunk without end":    message("POST", "/api/login", "", withChunks) + "2\r\n{}x\r\n0\r\n\r\n",
	"trailers":             message("POST", "/api/register", "", withChunks) + "2\r\n{}\r\n0\r\nA: b\r\n\r\n",
	"chunk extension, form": message("POST", pathCreate, "", "$T", formType, withChunks) +
		strings.Replace(chunk(forcedCreate(80000), len(forcedCreate(80000))), "\r\nhello\r\n", "\r\nother\r\n", 1) +
		"\r\n2;x\r\n",

	// Mollymawk allocates memory for a body before reading it.
	"length":           message("POST", "/api/login", "", "Content-Length: 99999999999"),
	"length, register": message("POST", "/api/register", "", "Content-Length: 99999999999"),
	"length in hex":    message("POST", "/api/login", "", "Content-Length: 0x7fffffffff"),
	"length with chunks": message("POST", "/api/login", "", withChunks, "Content-Length: 99999999999") +
		"0\r\n\r\n",
	"length, with a token": message("POST", pathDestroy, "", "$T", "Content-Length: 99999999999"),
	"length of another form": message("POST", "/api/unikernel/monitoring/update", "", "$T", formType,
		"Content-Length: 99999999999"),

	// Numbers that Yojson can parse but not encode, in members that are quoted in an error.
	"NaN":                 message("POST", "/api/login", `{"email":NaN}`),
	"Infinity":            message("POST", "/api/login", `{"email":"a","x":[{"y":Infinity}]}`),
	"-Infinity":           message("POST", "/api/register", `{"email":-Infinity}`),
	"1e999":               message("POST", "/api/login", `{"email":1e999}`),
	"long exponent":       message("POST", "/api/register", `{"email":1E`+strings.Repeat("9", 50000)+`}`),
	"NaN, password":       message("POST", "/account/password/update", `{"new_password":NaN,$X}`, "$C"),
	"NaN, create token":   message("POST", "/api/tokens/create", `{"token_name":"x","token_expiry":NaN,$X}`, "$C"),
	"1e999, update token": message("POST", "/api/tokens/update", `{"token_expiry":1e999,$X}`, "$C"),
	"NaN, session":        message("POST", "/api/account/session/close", `{"session_value":NaN,$X}`, "$C"),
	"NaN, update":         message("POST", "/api/unikernel/update", update(`"http_liveliness_address":NaN,`), "$T"),
	"NaN, resolver": message("POST", "/api/unikernel/update",
		update(`"dns_liveliness":{"dns_address":1e999,"dns_name":"a.b"},`), "$T"),
	"NaN, arguments": message("POST", "/api/unikernel/update", update(`"unikernel_arguments":{"memory":NaN},`), "$T"),
	"NaN, json_data": message("POST", "/api/block/create",
		form(blockParts(`{"block_name":"v2","block_size":NaN,"block_compressed":false}`, "x")...), "$T", formType),

	// Nesting deep enough to overflow the parser's stack.
	"deep":            message("POST", "/api/login", strings.Repeat("[", 160000)),
	"deep objects":    message("POST", "/api/register", strings.Repeat(`{"a":`, 160000)),
	"deep, any route": message("POST", pathDestroy, `{"x":`+strings.Repeat("[", 160000), "$T"),
	"deep, config": message("POST", pathCreate,
		form(create([]part{{"unikernel_config", strings.Repeat("[", 160000)}})...), "$T", formType),

	// Invalid resolver ports.
	"port -5": message("POST", "/api/unikernel/update",
		update(`"dns_liveliness":{"dns_address":"192.0.2.1:-5","dns_name":"a.b"},`), "$T"),
	"port x": message("POST", "/api/unikernel/update",
		update(`"dns_liveliness":{"dns_address":"192.0.2.1:x","dns_name":"a.b"},`), "$T"),
	"port x, IP6": message("POST", "/api/unikernel/update",
		update(`"dns_liveliness":{"dns_address":"[2001:db8::1]:x","dns_name":"a.b"},`), "$T"),

	// Invalid force flags, including some that a front end may parse differently.
	"force TRUE": message("POST", pathCreate, form(create([]part{{"unikernel_force_create", "TRUE"}})...), "$T",
		formType),
	"force empty": message("POST", pathCreate, form(create([]part{{"unikernel_force_create", ""}})...), "$T",
		formType),
	"force, repeated": message("POST", pathCreate,
		form(append([]part{{"unikernel_force_create", "true"}}, create([]part{{"unikernel_force_create", "1"}})...)...),
		"$T", formType),
	"force, base64": message("POST", pathCreate, withPart(encoded(
		"Content-Disposition: form-data; name=\"unikernel_force_create\"\r\nContent-Transfer-Encoding: base64", "true"),
		create(nil)...), "$T", formType),
	"force, quoted-printable": message("POST", pathCreate, withPart(encoded(
		"content-transfer-encoding:  Quoted-Printable\r\n"+
			"Content-Disposition: form-data; name=\"unikernel_force_create\"", "true"), create(nil)...),
		"$T", formType),
	"force, second name": message("POST", pathCreate, withPart(encoded(
		`Content-Disposition: form-data; name="x"; name="unikernel_force_create"`, "yes"), create(nil)...), "$T",
		formType),
	"force, name without quotes": message("POST", pathCreate, withPart(encoded(
		`Content-Disposition: form-data; name=unikernel_force_create`, "yes"), create(nil)...), "$T", formType),

	// Downloads: Mollymawk has already sent status 200 when it detects the error.
	"download, unknown instance": message("POST", "/api/block/download",
		`{"albatross_instance":"other","block_name":"v1","compression_level":0}`, "$T"),
	"download, bad instance": message("POST", "/api/block/download",
		`{"albatross_instance":"_","block_name":"v1","compression_level":0}`, "$T"),
	"download, bad block": message("POST", "/api/block/download",
		`{"albatross_instance":"default","block_name":"a/b","compression_level":0}`, "$T"),
	"download, escaped path": message("POST", "/api/block/%64ownload",
		`{"albatross_instance":"default","block_name":"v1","compression_level":5,$X}`, "$C"),
	"download, level 1": message("POST", "/api/block/download",
		`{"albatross_instance":"default","block_name":"v1","compression_level":1}`, "$T"),
	"download, level 9": message("POST", "/api/block/download",
		`{"albatross_instance":"default","block_name":"v1","compression_level":9}`, "$T"),
}

// fill replaces the placeholders in a request and corrects its Content-Length.
func fill(request, token, cookie, csrf string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	for placeholder, value := range map[string]string{"$T": bearer(token), "$C": "Cookie: " + cookie} {
		head = strings.ReplaceAll(head, "\r\n"+placeholder, "\r\n"+value)
	}
	if strings.Contains(body, "$X") {
		method, target, _ := strings.Cut(head, " ")
		target, rest, _ := strings.Cut(target, " ")
		_, rest, _ = strings.Cut(rest, "\r\n")
		rest, _, _ = strings.Cut(rest, "\r\nContent-Length:")
		return message(method, target, strings.ReplaceAll(body, "$X", `"molly_csrf":"`+csrf+`"`), rest)
	}
	return head + "\r\n\r\n" + body
}

// encoded returns an encoded form part with these header lines.
func encoded(headers, value string) string {
	return "--" + boundary + "\r\n" + headers + "\r\n\r\n" + value + "\r\n"
}

// withPart returns a form with an encoded part inserted before its last part, the file.
func withPart(part string, parts ...part) string {
	whole := form(parts...)
	i := strings.LastIndex(whole[:strings.LastIndex(whole, "--"+boundary)], "--"+boundary)
	return whole[:i] + part + whole[i:]
}

func message(method, target, body string, headers ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: molly"}, headers...)
	if body != "" {
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func bearer(token string) string { return "Authorization: Bearer " + token }

const boundary = "----7d1c"

// part is a form part. If its name starts with @, it is a file.
type part struct{ name, value string }

func form(parts ...part) string {
	var b strings.Builder
	for _, p := range parts {
		name, isFile := strings.CutPrefix(p.name, "@")
		b.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + `"`)
		if isFile {
			b.WriteString("; filename=\"x.bin\"\r\nContent-Type: application/octet-stream")
		}
		b.WriteString("\r\n\r\n" + p.value + "\r\n")
	}
	return b.String() + "--" + boundary + "--\r\n"
}

const formType = "Content-Type: multipart/form-data; boundary=" + boundary

func blockParts(jsonData, data string) []part {
	return []part{{"molly_csrf", "''"}, {"albatross_instance", "default"}, {"json_data", jsonData},
		{"@block_data", data}}
}

func jsonData(name string, size int, compressed bool) string {
	return fmt.Sprintf(`{"block_name":"%s","block_size":%d,"block_compressed":%t}`, name, size, compressed)
}

// testImage is an image for a unikernel without devices.
var testImage = string(Image(Manifest{}, []byte("hello")))

// create returns the parts of a valid create form. It changes or adds some parts, and omits
// those named in without.
func create(changed []part, without ...string) []part {
	parts := []part{
		{"albatross_instance", "default"}, {"unikernel_name", "hello"},
		{"unikernel_config", `{"typ":"solo5","cpuids":[0],"memory":32}`},
		{"unikernel_force_create", "false"}, {"molly_csrf", ""}, {"deploy_mode", "manual"}, {"@binary", testImage},
	}
	for _, c := range changed {
		if i := slices.IndexFunc(parts, func(p part) bool { return p.name == c.name }); i >= 0 {
			parts[i] = c
		} else {
			parts = slices.Insert(parts, 0, c)
		}
	}
	return slices.DeleteFunc(parts, func(p part) bool { return slices.Contains(without, p.name) })
}

// update returns the body of a valid update. changed holds members that override the
// others, each followed by a comma.
func update(changed string) string {
	const good = `"albatross_instance":"default","job":"hello","to_be_updated_unikernel":"new",` +
		`"currently_running_unikernel":"old","unikernel_name":"hello",` +
		`"http_liveliness_address":null,"dns_liveliness":null,"unikernel_arguments":null}`
	return "{" + changed + good // the first of several members with the same name counts
}

// forcedCreate returns a form that replaces the unikernel hello with one that has a large
// image. It omits bytes at the end of the form; without is their number.
func forcedCreate(without int) string {
	large := string(Image(Manifest{}, bytes.Repeat([]byte("image"), 30000)))
	whole := form(create([]part{{"unikernel_force_create", "true"}, {"@binary", large}})...)
	return whole[:len(whole)-without]
}

// chunk returns a body chunk. announced is the size specified in the chunk's framing; it
// may exceed len(data).
func chunk(data string, announced int) string { return fmt.Sprintf("%x\r\n%s", announced, data) }

const (
	withLength  = "Content-Length: 10000000"
	withChunks  = "Transfer-Encoding: chunked"
	pathCreate  = "/api/unikernel/create"
	pathUpload  = "/api/block/upload"
	pathDestroy = "/api/unikernel/destroy"
)
