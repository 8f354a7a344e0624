package mollymawktest

import (
	"strings"
	"testing"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.SetAdmin("root", true)
	s.AddUser("alice")
	session := "Cookie: " + s.Session("root")
	csrf := `"molly_csrf":"` + s.CSRF("root") + `"`
	s.mu.Lock()
	root, alice := s.user("root").uuid, s.user("alice").uuid
	s.mu.Unlock()
	const pem = `-----BEGIN X-----\n-----END X-----\n`
	instance := func(name string) string {
		return `"name":"` + name + `","certificate":"` + pem + `","private_key":"` + pem + `","server_ip":"127.0.0.1","server_port":1025,`
	}
	const mail = `"server":"127.0.0.1","port":25,"from_email":"a@b.c","base_url":"http://x",`
	policy := `"user_uuid":"` + alice + `","albatross_instance":"default","unikernels":1,"memory":64,"block":0,"cpuids":"0,1","bridges":"service",`
	for _, test := range []struct {
		path, body string
		status     int
		data       string
	}{
		{"user/admin/toggle", `"uuid":"` + root + `",`, 403, `"Cannot remove last administrator"`},
		{"user/activate/toggle", `"uuid":"` + alice + `",`, 200, `"Updated user successfully"`},
		{"user/activate/toggle", `"uuid":"` + root + `",`, 403, `"Cannot deactivate last active user"`},
		{"user/activate/toggle", `"uuid":"x",`, 404, `"Account not found"`},
		{"user/activate/toggle", ``, 400, `"Couldn't find a UUID in the JSON."`},
		{"u/policy/update", policy, 200, `{"name":"alice:","allowed_unikernels":1,"allowed_cpuids":[0,1],"allowed_memory":64,"allowed_block_size":0,"allowed_bridges":["service"]}`},
		{"u/policy/update", `"user_uuid":"x","albatross_instance":"default",`, 404, `"User not found"`},
		{"settings/albatross/create", instance("New"), 200, `"Configuration updated successfully"`},
		{"settings/albatross/create", instance("new"), 500, `"configuration new already exists"`},
		{"settings/albatross/update", instance("other"), 500, `"configuration other not found"`},
		{"settings/albatross/delete", `"name":"new",`, 200, `"Configuration delete successfully"`},
		{"settings/albatross/delete", `"name":"new",`, 500, `"configuration 'new' not found"`},
		{"settings/email/update", mail, 200, `"Email settings verified and saved successfully"`},
		{"settings/email/test", mail, 400, `"Test failed: couldn't connect to 127.0.0.1"`},
		{"user/account/delete", `"uuid":"` + alice + `",`, 200, `"Deleted user successfully"`},
		{"user/account/delete", `"uuid":"` + alice + `",`, 404, `"Account not found"`},
	} {
		a := post(t, s, "/api/admin/"+test.path, `{`+test.body+csrf+`}`, session)
		if want := envelope(test.status, "", test.data); a.status != test.status || a.body != want {
			t.Errorf("%s %s: got %d %s\nwant %s", test.path, test.body, a.status, a.body, want)
		}
	}
	wantEnvelope(t, post(t, s, "/api/admin/settings/email/update", `{`+mail[:len(mail)-1]+`}`, session), 400, "", `"Couldn't find CSRF token"`)
	wantEnvelope(t, fetch(t, s, "/api/admin/albatross/retry?instance=default", session), 200, "", `"Re-initialization successful, instance is back online"`)
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	a := fetch(t, s, "/api/admin/albatross/retry?instance=default", session)
	if a.status != 500 || !strings.Contains(a.body, "Re-initialization failed. See error logs: timeout") {
		t.Errorf("retry: %s", a.body)
	}
}
