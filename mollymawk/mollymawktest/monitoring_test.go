package mollymawktest

import (
	"strings"
	"testing"
)

func wantFragment(t *testing.T, a response, status int, text string) {
	t.Helper()
	if a.status != status || a.header("content-type") != "text/plain" || !strings.HasPrefix(a.body, "<div ") ||
		!strings.Contains(a.body, text) {
		t.Errorf("got %d %s %s\nwant %d and %s", a.status, a.header("content-type"), a.body, status, text)
	}
}

// TestMonitoring also checks that users can monitor other users' unikernels.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("bob", "default", "his")
	status := func(query string) response {
		return fetch(t, s, "/api/unikernel/monitoring/status"+query, bearer(token))
	}
	wantFragment(t, status("?unikernel=His"), 200, "monitoring-container")
	wantFragment(t, status("?unikernel=other"), 400, "[monitoring] Failed to connect to other.")
	wantPage(t, status(""), 400, "400", "Couldn't find unikernel in query params")
	wantPage(t, status("?unikernel=_"), 400, "Unikernel name error", "Error with unikernel name: "+badLabel)

	const path = "/api/unikernel/monitoring/update"
	for _, test := range []struct {
		parts  []part
		status int
		text   string
	}{
		{[]part{{"unikernel_name", "his"}, {"command", "L*:info,app:debug"}}, 200, "Updated " + successfully + ": "},
		{[]part{{"unikernel_name", "his"}, {"command", "Mx:enable"}}, 200, "Updated " + successfully + ": "},
		{[]part{{"command", "X"}, {"unikernel_name", "his"}, {"command", "M*:disable"}}, 200,
			"Updated " + successfully + ": "},
		{[]part{{"unikernel_name", "a/b"}, {"command", "L*:info"}}, 400,
			"An error " + occurred + ": [monitoring] Failed to connect to a/b."},
		{[]part{{"unikernel_name", "his"}}, 400, "Missing unikernel name or command in request."},
		{[]part{{"unikernel_name", "his"}, {"command", "L"}}, 400,
			"Command is malformated. Command: L, Received error: Command is too short. got L"},
		{[]part{{"unikernel_name", "his"}, {"command", "L*:loud"}}, 400, "Invalid logs configuration. got L*:loud"},
		{[]part{{"unikernel_name", "his"}, {"command", "M*:on"}}, 400, "Invalid metrics configuration. got M*:on"},
		{[]part{{"unikernel_name", "his"}, {"command", "x*:on"}}, 400,
			"Invalid command prefix (must be L or M). got x*:on"},
	} {
		wantFragment(t, postForm(t, s, token, path, test.parts...), test.status, test.text)
	}
	wantEnvelope(t, postJSON(t, s, token, path, "{}"), 400, "", `"Expected multipart form data"`)
	for _, broken := range []string{"xyz", form(), "", "--" + boundary + "\r\nno header"} {
		a := roundTrip(t, s, message("POST", path, broken, bearer(token), formType))
		wantEnvelope(t, a, 400, "",
			`"Couldn't process multipart request: Couldn't decode multipart data: Invalid input"`)
	}
}

func TestScaling(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{Policy: &Policy{Unikernels: 5, CPUs: []int{0}, Memory: 1024, Block: 1024}})
	const path = "/api/unikernel/scaling/update?instance=default&unikernel=hello"
	const updated, nothing = "Unikernel scaling policy updated successfully.",
		"No scaling policy exist for this unikernel. Nothing to do here."
	for _, test := range []struct {
		parts  []part
		status int
		text   string
	}{
		{[]part{{"max_instances", "3"}}, 200, nothing},
		{[]part{{"should_scale", "on"}}, 400, "Missing max number of clones to spawn."},
		{[]part{{"should_scale", "on"}, {"max_instances", "x"}}, 400, "Max instances must be greater than 1."},
		{[]part{{"should_scale", "on"}, {"max_instances", "0"}}, 400, "Max instances must be greater than 1."},
		{[]part{{"should_scale", "on"}, {"max_instances", "1"}}, 200, updated},
		{[]part{{"should_scale", "on"}, {"max_instances", "6"}}, 400, "Error: you can spawn a maximum of 5 clones."},
		{[]part{{"should_scale", ""}, {"max_instances", "9"}, {"max_instances", "0x5"}}, 200, updated},
		{[]part{{"should_scale", ""}, {"max_instances", "0x6"}}, 400, "Error: you can spawn a maximum of 5 clones."},
		{[]part{{"should_scale", ""}, {"max_instances", "-0x2"}}, 400, "Max instances must be greater than 1."},
		{[]part{{"x", "y"}}, 200, updated},
		{[]part{{"x", "y"}}, 200, nothing},
	} {
		wantFragment(t, postForm(t, s, token, path, test.parts...), test.status, test.text)
	}
	// Mollymawk stores the scaling policy itself, so it works without albatross.
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	wantFragment(t, postForm(t, s, token, path, part{"should_scale", "on"}, part{"max_instances", "0x2"}), 200, updated)
}
