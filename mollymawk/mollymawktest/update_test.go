package mollymawktest

import (
	"strings"
	"testing"
	"time"
)

const (
	badLabel    = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	checkFailed = "Liveliness check of currentyly running unikernel failed with error: "
)

func TestUpdate(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	for _, test := range []struct {
		changed string
		status  int
		title   string
		data    string
	}{
		{"", 200, "Update Successful", "Update successful. hello is now running on build new"},
		{`"job":1,`, 400, "", "Couldn't find job or build in json. Received "},
		{`"albatross_instance":"_",`, 400, "Error: Bad instance name", "Couldn't convert the instance name, error: " +
			badLabel},
		{`"unikernel_name":"_",`, 400, "Error: Bad unikernel name", "Couldn't convert the unikernel name, error: " +
			badLabel},
		{`"albatross_instance":"other",`, 404, "Albatross Instance Error",
			"An error " + occurred + " while finding albatross instance other"},
		{`"unikernel_name":"other",`, 400, "",
			"Couldn't find albatross instance, default with error: Expected one unikernel, but got 0"},
		{`"http_liveliness_address":1,`, 500, "Error: Liveliness check failed",
			checkFailed + "invalid json for http_liveliness_address: 1"},
		{`"albatross_instance":"_","http_liveliness_address":"nowhere",`, 500, "Error: Liveliness check failed",
			checkFailed + "Liveliness checks failed for: HTTP (nowhere): nowhere :an error " + occurred +
				" while performing a liveliness check on the http endpoint with error: couldn't decode URL"},
		{`"unikernel_name":"_","dns_liveliness":{"dns_address":"resolver","dns_name":"a.b"},`, 500,
			"Error: Liveliness check failed",
			checkFailed + "Liveliness checks failed for: DNS (a.b, resolver): timeout"},
		{`"unikernel_name":"_","dns_liveliness":{"dns_address":"192.0.2.1","dns_name":"a..b/"},`, 500,
			"Error: Liveliness check failed",
			checkFailed + "Invalid DNS name: invalid host name"},
		{`"http_liveliness_address":"http://a.b/x","dns_liveliness":{"dns_address":"[2001:db8::1]","dns_name":"a.b"},`,
			200, "Update Successful",
			"Update successful. hello is now running on build new"},
		{`"job":"nothing",`, 500, "Update Error", "Update failed. hello failed to update to build new with error " +
			"update :an error " + occurred +
			" while fetching the binary from builds.robur.coop with error: returned not found"},
	} {
		a := postJSON(t, s, token, "/api/unikernel/update", update(test.changed))
		if want := envelope(test.status, test.title, `"`+test.data+`"`); a.status != test.status || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", test.changed, a.status, a.body, want)
		}
	}
	s.AddUnikernel("alice", "default", "hello")
	a := postJSON(t, s, token, "/api/unikernel/update", update(`"unikernel_arguments":{"typ":"solo5","cpuid":0},`))
	if a.status != 400 || !strings.Contains(a.body, `"title":"Error with Unikernel Arguments Json"`) {
		t.Errorf("update with invalid arguments: got %d %s, want 400 and the title of this error", a.status, a.body)
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	token := s.AddToken("alice", "gate", 24*time.Hour)
	s.AddUnikernel("alice", "default", "hello")
	rollback := func(body string) response { return postJSON(t, s, token, "/api/unikernel/rollback", body) }
	const hello = `{"unikernel_name":"hello","albatross_instance":"default"}`
	wantEnvelope(t, rollback(`{}`), 400, "", `"Couldn't find unikernel name in json"`)
	wantEnvelope(t, rollback(`{"unikernel_name":"hello","albatross_instance":"_"}`), 400, "",
		`"Couldn't convert instance name, `+badLabel+`"`)
	wantEnvelope(t, rollback(`{"unikernel_name":"_","albatross_instance":"default"}`), 400, "",
		`"Couldn't convert unikernel name, `+badLabel+`"`)
	wantEnvelope(t, rollback(`{"unikernel_name":"hello","albatross_instance":"other"}`), 404, "",
		`"Couldn't find albatross instance, other"`)
	wantEnvelope(t, rollback(hello), 404, "Rollback Error",
		`"hello rollback failed. Could not find the build information."`)

	postJSON(t, s, token, "/api/unikernel/update", update(""))
	clock.add(10*time.Minute - time.Second)
	wantEnvelope(t, rollback(hello), 200, "Rollback Successful",
		`"Rollback successful. hello is now running on build old"`)
	clock.add(10 * time.Minute)
	wantEnvelope(t, rollback(hello), 400, "Rollback Failed",
		`"hello rollback failed. We can't do a rollback after 10 minutes of an update."`)

	postJSON(t, s, token, "/api/unikernel/update", update(""))
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	wantEnvelope(t, rollback(hello), 500, "Rollback Error",
		`"Rollback failed. hello failed to revert to build old with error `+
			`Force create: Error querying albatross: timeout"`)
}
