package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// webSite is a site that also serves Mollymawk's own web pages.
var webSite = strings.Replace(plainSite, "routes {$ROUTES:mollymawk}", `routes {$ROUTES:mollymawk}
			browser_sessions molly_session
			max_body 1KiB
			max_anonymous_body 2KiB
			max_upload 300KiB`, 1)

// TestAnonymousBodies checks that the gate limits the body size of requests without a token
// and reads each body before contacting the backend.
func TestAnonymousBodies(t *testing.T) {
	t.Parallel()
	s := startSite(t, webSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	session, csrf := s.backend.Session("alice"), s.backend.CSRF("alice")
	cookie := []string{"-H", "Cookie: " + session}
	chunked := []string{"-H", "Transfer-Encoding: chunked"}
	post := func(body string, more ...[]string) []string {
		args := []string{"-H", "Content-Type: application/json", "--data-binary", body}
		for _, m := range more {
			args = append(args, m...)
		}
		return args
	}
	text := func(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }
	const login = `{"email":"alice@example.com","password":"mollymawk"}`
	for name, tt := range map[string]struct {
		path string
		args []string
		want string // status and code
		seen int    // requests that reached the backend
	}{
		"sign-in":               {"/api/login", post(login), "200", 1},
		"sign-in, chunked":      {"/api/login", post(login, chunked), "200", 1},
		"sign-in, another path": {"//x/api/login", post(login), "200", 1},
		"sign-in, empty":        {"/api/login", []string{"-X", "POST"}, "400", 1},
		"largest":               {"/api/login", post(text(2048)), "400", 1},
		"too large":             {"/api/login", post(text(2049)), "413 body_too_large", 0},
		"too large, chunked":    {"/api/login", post(text(2049), chunked), "413 body_too_large", 0},
		"too large, GET": {"/api/login", post(text(2049), []string{"-X", "GET"}),
			"413 body_too_large", 0},
		"NaN":               {"/api/login", post(`{"email":NaN}`), "400 invalid_request_body", 0},
		"NaN, chunked":      {"/api/login", post(`{"email":NaN}`, chunked), "400 invalid_request_body", 0},
		"NaN, escaped path": {"/api/%6Cogin", post(`{"email":NaN}`), "400 invalid_request_body", 0},
		"NaN, as a form": {"/api/login",
			post(`{"email":NaN}`, []string{"-H", "Content-Type: multipart/form-data; boundary=x"}),
			"400 invalid_request_body", 0},
		"NaN, by cookie": {"/api/tokens/create", post(`{"token_expiry":NaN}`, cookie),
			"400 invalid_request_body", 0},
		"listed, without a cookie": {"/api/unikernel/destroy", post("{}"), "401 missing_token", 0},
		"listed": {"/api/unikernel/destroy",
			post(`{"name":"none","albatross_instance":"default","molly_csrf":"`+csrf+`"}`, cookie), "", 1},
		"listed, too large": {"/api/unikernel/destroy", post(text(1025), cookie), "413 body_too_large", 0},
		"listed, too large, chunked": {"/api/unikernel/destroy", post(text(1025), cookie, chunked),
			"413 body_too_large", 0},
		"listed, trailing comma": {"/api/unikernel/destroy", post(`{"name":"hello",}`, cookie),
			"400 invalid_request_body", 0},
		"listed, escaped":              {"/api/unikernel/%64estroy", post("{}", cookie), "400 invalid_path", 0},
		"listed, escaped, lower case":  {"/api/unikernel%2fdestroy", post("{}", cookie), "400 invalid_path", 0},
		"listed, escaped, no cookie":   {"/api/unikernel/%64estroy", post("{}"), "400 invalid_path", 0},
		"listed, after a host":         {"//x/api/unikernel/destroy", post("{}", cookie), "400 invalid_path", 0},
		"listed, after a host, escape": {"//x/api/unikernel/d%65stroy", post("{}", cookie), "400 invalid_path", 0},
		"listed, doubled slash":        {"//api/unikernel/destroy", post("{}", cookie), "400 invalid_path", 0},
		"listed, other table's name":   {"/api/%76olume/create", post("{}", cookie), "400 invalid_path", 0},
		"escaped, not listed":          {"/api/unikernel/%78", post("{}", cookie), "", 1},
		"upload, too large": {"/api/unikernel/create",
			[]string{"-H", "Cookie: " + session, "-F", "binary=@" + s.write("large", strings.Repeat("x", 400<<10))},
			"413 body_too_large", 0},
	} {
		before := len(s.backend.Requests())
		status, _, body := curl(t, append(tt.args, "--path-as-is", s.url(tt.path))...)
		var problem struct{ Code string }
		_ = json.Unmarshal([]byte(body), &problem)
		if got := (slowResponse{status: status, code: problem.Code}).String(); tt.want != "" && got != tt.want ||
			problem.Code != "" && tt.want == "" {
			t.Errorf("%s: got %s %.200s, want %s", name, got, body, tt.want)
		}
		if seen := len(s.backend.Requests()) - before; seen != tt.seen {
			t.Errorf("%s: the backend saw %d requests, want %d", name, seen, tt.seen)
		}
	}
	// Mollymawk would allocate memory for these bodies based on Content-Length alone.
	for _, path := range []string{"/api/login", "/api/register", "/nowhere"} {
		before := len(s.backend.Requests())
		status := s.raw(t, "POST "+path+" HTTP/1.1\r\nHost: molly\r\nContent-Length: 99999999999\r\n\r\n")
		if status != http.StatusRequestEntityTooLarge || len(s.backend.Requests()) != before {
			t.Errorf("%s: announcing a body got status %d, and the backend saw %d requests", path, status,
				len(s.backend.Requests())-before)
		}
	}
	// Mollymawk, unlike other servers, routes these targets to a listed path.
	for _, target := range []string{"http:%2fapi/block/download", "x:%2fapi/block/download",
		"//x:80%2fapi/block/download", "//:80%2fapi/block/download", "//x#%2fapi/block/download",
		"http://127.0.0.1//api/block/%64ownload"} {
		before := len(s.backend.Requests())
		if status := s.raw(t, "POST "+target+" HTTP/1.1\r\nHost: molly\r\nCookie: "+session+
			"\r\nContent-Length: 2\r\n\r\n{}"); status != http.StatusBadRequest || len(s.backend.Requests()) != before {
			t.Errorf("%s: got status %d, the backend saw %d requests", target, status, len(s.backend.Requests())-before)
		}
	}
	// The gate strips chunk extensions and trailers.
	s.raw(t, "POST /api/login HTTP/1.1\r\nHost: molly\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"+
		"2;ext=\"secret-extension\"\r\n{}\r\n0\r\nX-Late: secret-trailer\r\n\r\n")
	for _, connection := range s.backend.Connections() {
		for _, what := range []string{"secret-extension", "secret-trailer", "X-Late", "hunked"} {
			if strings.Contains(string(connection.Raw), what) {
				t.Errorf("the backend got %q in %.500q", what, connection.Raw)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
}

// TestWebUpload sends an upload through the gate exactly as Mollymawk's own web page does.
func TestWebUpload(t *testing.T) {
	t.Parallel()
	s := startSite(t, webSite, mollymawktest.Options{})
	session, csrf := s.backend.Session("alice"), s.backend.CSRF("alice")
	form := []string{
		"-H", "Cookie: " + session, "-F", "albatross_instance=default", "-F", "unikernel_name=web", "-F",
		`unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`,
		"-F", "unikernel_force_create=false", "-F", "molly_csrf=" + csrf, "-F", "deploy_mode=manual", "-F",
		"binary=@" + s.write("image", unikernelImage),
	}
	status, _, body := curl(t, append(form, s.url("/api/unikernel/create"))...)
	if status != http.StatusOK || len(s.backend.Unikernels("alice")) != 1 {
		t.Errorf("got %d %s", status, body)
	}
	requests := s.backend.Requests()
	if last := requests[len(requests)-1]; len(last.Values("Transfer-Encoding")) != 1 ||
		len(last.Values("Content-Length")) != 0 {
		t.Errorf("the upload isn't chunked: %q", last.Lines)
	}
}

// TestAnonymousBodyOption checks that without a built-in route table, the gate limits the size
// of anonymous request bodies only if an option tells it to.
func TestAnonymousBodyOption(t *testing.T) {
	t.Parallel()
	backend := newGoBackend(t, nil)
	for option, want := range map[string]int{"": http.StatusOK, "max_anonymous_body off": http.StatusOK,
		"max_anonymous_body 1KiB": http.StatusRequestEntityTooLarge} {
		c := startCaddy(t,
			globals+"http://127.0.0.1:{$HTTP} {\n"+gateBlock("route GET /x plain:read\nbrowser_sessions session\n"+
				option)+"reverse_proxy "+backend.addr()+"\n}",
			map[string]string{"UPSTREAM": "backend-token"})
		values := url.Values{"x": {strings.Repeat("NaN", 1<<20)}}
		status, _, _ := curl(t, "--data-binary", "@"+c.write("body", values.Encode()), c.url("/form"))
		if status != want {
			t.Errorf("%q: got status %d, want %d", option, status, want)
		}
		if small, _, _ := curl(t, "-d", "{NaN}", c.url("/form")); small != http.StatusOK {
			t.Errorf("%q: a small body got status %d", option, small)
		}
	}
}

// raw sends a request unchanged and returns the response status, or 0 if there is no response.
func (c *caddy) raw(t *testing.T, request string) int {
	t.Helper()
	conn, err := dialH1("127.0.0.1:" + c.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	request = strings.Replace(request, "\r\nHost: molly\r\n", "\r\nHost: 127.0.0.1\r\n", 1)
	request = strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	go func() { _, _ = conn.Write([]byte(request)) }() // the response may arrive before the whole request is sent
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
