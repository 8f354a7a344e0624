package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// formBody returns a form with the boundary b. Each argument is "name=value", or a part's
// header and content if it begins with "Content-".
func formBody(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		if name, value, ok := strings.Cut(part, "="); ok && !strings.HasPrefix(part, "Content-") {
			part = `Content-Disposition: form-data; name="` + name + "\"\r\n\r\n" + value
		}
		b.WriteString("--b\r\n" + part + "\r\n")
	}
	return b.String() + "--b--\r\n"
}

const named = `Content-Disposition: form-data; name=`

var createFields = []string{"albatross_instance=default", "unikernel_name=web",
	`unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`, "unikernel_force_create=true", "deploy_mode=manual",
	"molly_csrf=$CSRF"}

// ambiguousForms holds forced creates and block uploads that Mollymawk and other parsers
// interpret differently, or that crash Mollymawk. If a form is marked late, the gate can
// detect the problem only after the file has begun.
var ambiguousForms = map[string]struct {
	path, body string
	late       bool
}{
	"flag": {body: form("unikernel_force_create=TRUE")},
	"flag in base64": {
		body: form(named + "\"unikernel_force_create\"\r\nContent-Transfer-Encoding: base64\r\n\r\nTVVTVA==")},
	"flag in quotable": {
		body: form(named + "\"unikernel_force_create\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ntru=65")},
	"flag as a second name": {body: form(named + "\"x\"; name=\"unikernel_force_create\"\r\n\r\nTRUE")},
	"flag in pieces":        {body: form(named[:len(named)-1] + "*0=unikernel_force; name*1=_create\r\n\r\nTRUE")},
	"flag, encoded name":    {body: form(named[:len(named)-1] + "*=utf-8''unikernel_force_create\r\n\r\nTRUE")},
	"flag, second header":   {body: form(named + "\"x\"\r\n" + named + "\"unikernel_force_create\"\r\n\r\nTRUE")},
	"flag twice":            {body: form("unikernel_force_create=false")},
	"nested": {body: form("Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" + named +
		"\"unikernel_force_create\"\r\n\r\nTRUE\r\n--c--")},
	"NUL": {body: form("x=a\x00b")},
	"NaN": {body: formBody("albatross_instance=default", "unikernel_name=web",
		`unikernel_config={"memory":NaN}`, "unikernel_force_create=true", "binary=x")},
	"no file": {body: formBody(createFields...)},
	"no form": {body: "{}"},
	"empty":   {},
	"two files": {late: true,
		body: formBody(append(createFields, "binary="+unikernelImage, "binary=x")...)},
	"field after the file": {late: true,
		body: formBody(append(createFields, "binary="+unikernelImage, "unikernel_force_create=TRUE")...)},
	"no last boundary": {late: true,
		body: strings.TrimSuffix(formBody(append(createFields, "binary="+unikernelImage)...), "--b--\r\n")},
	"cut in the file": {late: true,
		body: strings.TrimSuffix(formBody(append(createFields, "binary="+unikernelImage)...), "\r\n--b--\r\n")},
	"more after the form": {late: true, body: formBody(append(createFields, "binary="+unikernelImage)...) +
		formBody("binary=x")},
	"block, NaN": {path: "/api/block/upload",
		body: formBody("molly_csrf=$CSRF", "albatross_instance=default",
			`json_data={"block_name":"vol","block_size":Infinity,"block_compressed":false}`, "block_data=x")},
	"block, two files": {path: "/api/block/upload", late: true,
		body: formBody("molly_csrf=$CSRF", "albatross_instance=default",
			`json_data={"block_name":"vol","block_size":1,"block_compressed":false}`, "block_data=x", "block_data=y")},
	"scaling, twice": {path: "/api/unikernel/scaling/update?instance=default&unikernel=web",
		body: formBody("max_instances=1", "max_instances=2")},
	"scaling, two names": {path: "/api/unikernel/scaling/update?instance=default&unikernel=web",
		body: formBody(named + "\"x\"; name=\"max_instances\"\r\n\r\n2")},
	"monitoring, in base64": {path: "/api/unikernel/monitoring/update",
		body: formBody("unikernel_name=web", named+"\"command\"\r\nContent-Transfer-Encoding: base64\r\n\r\nTCo=")},
}

func form(part string) string {
	return formBody(append(append([]string{}, createFields...), part, "binary=x")...)
}

// TestAmbiguousForms checks that the gate refuses ambiguous forms from every caller, and that
// they don't change the unikernel.
func TestAmbiguousForms(t *testing.T) {
	t.Parallel()
	for name, spool := range map[string]string{"streamed": "", "spooled": "spool_uploads " + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, formSite("browser_sessions molly_session\n"+spool), mollymawktest.Options{})
			s.backend.AddUnikernel("alice", "default", "web")
			s.backend.AddBlock("alice", "default", "vol", 1, nil)
			callers := map[string][]string{
				"by token":  bearer(s.token("--scope", "*", "--scope", "monitoring:write")),
				"by cookie": {"-H", "Cookie: " + s.backend.Session("alice")},
			}
			for name, tt := range ambiguousForms {
				for caller, args := range callers {
					if tt.path == "" {
						tt.path = "/api/unikernel/create"
					}
					// The query distinguishes the cases, because a late form may reach the
					// backend after curl has received its response.
					target := tt.path + map[bool]string{false: "?", true: "&"}[strings.Contains(tt.path, "?")] +
						"case=" + strings.NewReplacer(" ", "-", ",", "").Replace(name+"-"+caller)
					tt.body = strings.ReplaceAll(tt.body, "$CSRF", s.backend.CSRF("alice"))
					args := append([]string{"-H", "Content-Type: multipart/form-data; boundary=b", "--data-binary",
						"@" + s.write("form", tt.body), s.url(target)}, args...)
					status, _, body := curl(t, args...)
					var problem struct{ Code string }
					_ = json.Unmarshal([]byte(body), &problem)
					if status != http.StatusBadRequest || problem.Code != "invalid_request_body" {
						t.Errorf("%s, %s: %d %s", name, caller, status, body)
					}
					contacted := slices.ContainsFunc(s.backend.Requests(),
						func(r mollymawktest.Request) bool { return r.Target == target })
					if contacted && (spool != "" || !tt.late) {
						t.Errorf("%s, %s: the backend saw the request", name, caller)
					}
					if running := s.backend.Unikernels("alice"); len(running) != 1 || running[0].ImageSize != 0 {
						t.Errorf("%s, %s: got running unikernels %v", name, caller, running)
					}
				}
			}
			if n := s.backend.Crashes(); n != 0 {
				t.Errorf("the backend crashed %d times", n)
			}
		})
	}
}

// TestFormsThatWork makes calls as real clients do: as shown in the handbook, as Mollymawk's
// own pages make them with fields in main.js's order, and as in 2025, without typ.
func TestFormsThatWork(t *testing.T) {
	t.Parallel()
	for name, spool := range map[string]string{"streamed": "", "spooled": "spool_uploads " + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, formSite("browser_sessions molly_session\n"+spool),
				mollymawktest.Options{Jobs: []string{"dns"}})
			token := bearer(s.token("--preset", "full"))
			cookie, csrf := []string{"-H", "Cookie: " + s.backend.Session("alice")},
				"molly_csrf="+s.backend.CSRF("alice")
			image, data := s.write("image", unikernelImage), s.write("disk.img", "new")
			const instance, config, volume = "albatross_instance=default",
				`unikernel_config={"cpuids":[0],"memory":32}`,
				`json_data={"block_name":"vol","block_size":1,"block_compressed":false}`
			s.backend.AddBlock("alice", "default", "vol", 1, nil)
			for name, tt := range map[string]struct {
				caller []string
				path   string
				parts  []string
				want   string // the outcome when spooled, if it differs from streamed
			}{
				"create, no defaults": {token, "unikernel/create",
					[]string{instance, "unikernel_name=a", config, "binary=@" + image}, ""},
				"create, file first": {token, "unikernel/create",
					[]string{"binary=@" + image, instance, "unikernel_name=b", config},
					"send albatross_instance, unikernel_name, unikernel_config before binary"},
				"create, in JSON file": {token, "unikernel/create",
					[]string{instance, "unikernel_name=c", "unikernel_config=@" + s.write("unikernel.json",
						`{"typ":"solo5","cpuids":[0]}`), "binary=@" + image}, ""},
				"create, by builder": {token, "unikernel/create",
					[]string{instance, "unikernel_name=d", config, "deploy_mode=builder", "builder_job=dns", "binary="},
					""},
				"create, quotes": {token, "unikernel/create",
					[]string{instance, "unikernel_name=e", config, "molly_csrf=''", "binary=@" + image}, ""},
				"create, page": {cookie, "unikernel/create",
					[]string{instance, "unikernel_name=f", config, "unikernel_force_create=false", csrf,
						"deploy_mode=manual", "binary=@" + image}, ""},
				"create, page builder": {cookie, "unikernel/create",
					[]string{instance, "unikernel_name=g", config, "unikernel_force_create=false", csrf,
						"deploy_mode=builder", "builder_job=dns", "binary="}, ""},
				"upload": {token, "block/upload", []string{instance, volume, "block_data=@" + data}, ""},
				"upload, file first": {token, "block/upload", []string{"block_data=@" + data, instance, volume},
					"send albatross_instance, json_data before block_data"},
				"upload, file between": {token, "volume/upload", []string{instance, "block_data=@" + data, volume},
					"send json_data before block_data"},
				"upload, page": {cookie, "block/upload", []string{volume, instance, csrf, "block_data=@" + data},
					""},
				"create block, page": {cookie, "block/create",
					[]string{csrf, instance, strings.Replace(volume, "vol", "other", 1), "block_data=undefined"}, ""},
			} {
				args := append([]string{s.url("/api/" + tt.path)}, tt.caller...)
				for _, part := range tt.parts {
					args = append(args, "-F", part)
				}
				status, _, body := curl(t, args...)
				works := status == http.StatusOK && strings.Contains(body, `"success":true`)
				if refused := tt.want != "" && spool == ""; works == refused || refused &&
					!strings.Contains(body, tt.want) {
					t.Errorf("%s: got status %d: %s", name, status, body)
				}
			}
			want := 7
			if spool == "" {
				want = 6
			}
			if n := len(s.backend.Unikernels("alice")); n != want || s.backend.Crashes() != 0 {
				t.Errorf("%d unikernels are running, want %d, and the backend crashed %d times", n, want,
					s.backend.Crashes())
			}
			block, _ := s.backend.Block("alice", "default", "vol")
			if !strings.HasPrefix(string(block), "new") || strings.HasPrefix(string(block), "new\n") {
				t.Errorf("the block contains %.20q", block)
			}
			if block, _ := s.backend.Block("alice", "default", "other"); !strings.HasPrefix(string(block),
				"undefined") {
				t.Errorf("the other block contains %.20q", block)
			}
		})
	}
}

// TestUpdateResolver checks that the gate rejects a port number that would crash Mollymawk.
func TestUpdateResolver(t *testing.T) {
	t.Parallel()
	s := startSite(t, formSite("browser_sessions molly_session"), mollymawktest.Options{Jobs: []string{"dns"}})
	s.backend.AddUnikernel("alice", "default", "web")
	for caller, args := range map[string][]string{"by token": bearer(s.token("--preset", "full")),
		"by cookie": {"-H", "Cookie: " + s.backend.Session("alice")}} {
		for address, want := range map[string]int{"192.0.2.1:-5": 400, "192.0.2.1:x": 400, ":-5": 400,
			"192.0.2.1:53": 200} {
			body := `{"albatross_instance":"default","job":"dns","to_be_updated_unikernel":"a",` +
				`"currently_running_unikernel":"b","unikernel_name":"web","dns_liveliness":{"dns_address":"` + address +
				`","dns_name":"example.com"},"molly_csrf":"` + s.backend.CSRF("alice") + `"}`
			before := len(s.backend.Requests())
			status, _, response := curl(t, append(args, "-d", body, s.url("/api/unikernel/update"))...)
			if status != want || strings.Contains(response, "invalid_request_body") != (want == 400) || want == 400 &&
				len(s.backend.Requests()) != before {
				t.Errorf("%s, %s: %d %s", address, caller, status, response)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
}
