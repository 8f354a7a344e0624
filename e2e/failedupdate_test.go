package e2e

import (
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestFailedUpdate verifies what docs/client.md says about failed updates.
func TestFailedUpdate(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{Jobs: []string{"website"}})
	token := s.token("--preset", "full")
	update := func(job, address string) []string {
		return []string{"-d", `{"albatross_instance":"default","unikernel_name":"web","job":"` + job +
			`","to_be_updated_unikernel":"new",` +
			`"currently_running_unikernel":"old","http_liveliness_address":` + address +
			`,"dns_liveliness":null,"unikernel_arguments":null}`}
	}
	running := func(want int) {
		t.Helper()
		if got := len(s.backend.Unikernels("alice")); got != want {
			t.Errorf("%d unikernels are running, want %d", got, want)
		}
	}
	s.createUnikernel(t, token, "web")

	status, _, body := curl(t, append(append(bearer(token), update("website", `"nowhere"`)...),
		s.url("/api/unikernel/update"))...)
	if status != 500 {
		t.Errorf("checking liveliness: got status %d: %s", status, body)
	}
	running(1)
	_, members := s.expectProblem(t, token, "/api/unikernel/update", 502, "backend_error", update("unknown", "null")...)
	if members["backend_code"] != "image_not_fetched" {
		t.Errorf("%v", members)
	}
	running(0)
	_, members = s.expectProblem(t, token, "/api/unikernel/rollback", 502, "backend_error", "-d",
		`{"unikernel_name":"web","albatross_instance":"default"}`)
	if members["backend_code"] != "image_not_fetched" {
		t.Errorf("%v", members)
	}
	running(0)
	s.createUnikernel(t, token, "web")
}

// TestNoPolicy checks that a user without a policy can list unikernels but not create them.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.SetPolicy("alice", "default", nil)
	token := s.token("--preset", "full")
	s.call(t, token, "/api/unikernels")
	image := s.write("image.hvt", unikernelImage)
	_, members := s.expectProblem(t, token, "/api/unikernel/create", 409, "backend_error",
		"-F", "albatross_instance=default", "-F", "unikernel_name=web", "-F",
		`unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`,
		"-F", "unikernel_force_create=false", "-F", "molly_csrf=", "-F", "deploy_mode=manual", "-F", "binary=@"+image)
	if members["backend_code"] != "limit_reached" {
		t.Errorf("%v", members)
	}
	_, members = s.expectProblem(t, token, "/api/unikernel/scaling/update?instance=default&unikernel=web", 409,
		"backend_error", "-F", "should_scale=on", "-F", "max_instances=2")
	if members["backend_code"] != "limit_reached" {
		t.Errorf("%v", members)
	}
}
