package e2e

import (
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestCrashingRequests sends requests through the gate that would crash Mollymawk: without a
// credential, with a cookie and with a token.
func TestCrashingRequests(t *testing.T) {
	t.Parallel()
	site := strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tbrowser_sessions molly_session", 1)
	s := startSite(t, site, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	s.backend.AddBlock("alice", "default", "v1", 1, []byte("data"))
	token := s.token("--scope", "*", "--scope", "monitoring:write")
	session, csrf := s.backend.Session("alice"), s.backend.CSRF("alice")
	requests := mollymawktest.CrashingRequests(token, session, csrf)
	for name, request := range mollymawktest.CrashingRequests(token, session, csrf) {
		// The gate must check requests from unauthenticated callers just as carefully.
		requests[name+", by cookie"] = strings.Replace(request, "\r\n"+bearerLine(token), "\r\nCookie: "+session, 1)
		requests[name+", by nobody"] = strings.Replace(request, "\r\n"+bearerLine(token), "", 1)
	}
	crashes := 0
	for name, request := range requests {
		status := s.raw(t, request)
		if n := s.backend.Crashes(); n != crashes {
			t.Errorf("%s: the request crashed the backend and got status %d", name, status)
			crashes = n
		}
	}
	if n, albatross := s.backend.Crashes(), s.backend.AlbatrossCrashes(); n != crashes || albatross != 0 {
		t.Errorf("the backend crashed %d times, albatross %d times", n, albatross)
	}
	t.Logf("sent %d requests", len(requests))
	if list := s.backend.Unikernels("alice"); len(list) != 1 {
		t.Errorf("got unikernels %+v, want 1", list)
	}
}
