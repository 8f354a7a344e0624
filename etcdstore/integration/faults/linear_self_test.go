package faults

import (
	"testing"
	"time"
)

// times completes the operations of a self-test, whose times are in milliseconds.
func times(operations ...operation) []operation {
	for i := range operations {
		o := &operations[i]
		o.Call *= time.Millisecond
		o.Return *= time.Millisecond
		o.Token = "t"
		o.Client = i
		if o.Status == 0 && !o.Unknown {
			o.Status = 200
		}
	}
	return operations
}

// state returns an object of a token.
func state(version uint64, name, status string) *object { return &object{version, name, status} }

func created() operation {
	return operation{Action: create, Name: "a", Secret: 1, Return: 10, Status: 201, Got: state(1, "a", "active")}
}

// TestLinearChecker checks that the checker accepts good histories and finds the fault in bad
// ones.
func TestLinearChecker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what string
		good bool
		ops  []operation
	}{
		{"changes and reads", true, times(created(),
			operation{Action: edit, Name: "b", IfMatch: 1, Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: get, Gate: 1, Call: 40, Return: 50, Got: state(2, "b", "active")},
			operation{Action: disable, Call: 60, Return: 70, Got: state(3, "b", "disabled")},
			operation{Action: disable, Call: 80, Return: 90, Got: state(3, "b", "disabled")},
			operation{Action: enable, Call: 100, Return: 110, Got: state(4, "b", "active")},
			operation{Action: rotate, Secret: 2, Call: 120, Return: 130, Got: state(5, "b", "active")},
			operation{Action: lookup, Secret: 1, Call: 140, Return: 150, Status: 404},
			operation{Action: lookup, Secret: 2, Call: 160, Return: 170, Got: state(5, "b", "active")},
			operation{Action: edit, Name: "c", IfMatch: 4, Call: 180, Return: 190, Status: 412},
			operation{Action: revoke, Call: 200, Return: 210, Got: state(6, "b", "revoked")},
			operation{Action: enable, Call: 220, Return: 230, Status: 409},
			operation{Action: remove, Call: 240, Return: 250, Status: 204},
			operation{Action: get, Call: 260, Return: 270, Status: 404})},
		{"a read during a change", true, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 60, Got: state(2, "b", "active")},
			operation{Action: get, Gate: 1, Call: 30, Return: 40, Got: state(2, "b", "active")})},
		{"an unknown change that took effect", true, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Unknown: true},
			operation{Action: get, Call: 40, Return: 50, Got: state(1, "a", "active")},
			operation{Action: get, Call: 60, Return: 70, Got: state(2, "b", "active")})},
		{"an unknown change that never took effect", true, times(created(),
			operation{Action: revoke, Call: 20, Return: 30, Unknown: true},
			operation{Action: get, Call: 60, Return: 70, Got: state(1, "a", "active")})},
		{"an old response that says so", true, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: get, Age: "3", Call: 60, Return: 70, Got: state(1, "a", "active")})},
		{"an old refusal that says so", true, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: edit, Name: "c", IfMatch: 2, Age: "3", Gate: 1, Call: 60, Return: 70, Status: 412})},
		{"a change by a gate without contact", true, times(created(),
			operation{Action: edit, Name: "b", Age: "0", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: get, Call: 60, Return: 70, Got: state(2, "b", "active")})},

		{"a lost update by a gate without contact", false, times(created(),
			operation{Action: edit, Name: "b", Age: "0", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: edit, Name: "c", Age: "0", Call: 40, Return: 50, Got: state(2, "c", "active")})},
		{"a stale read", false, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: get, Gate: 1, Call: 40, Return: 50, Got: state(1, "a", "active")})},
		{"a stale lookup", false, times(created(),
			operation{Action: rotate, Secret: 2, Call: 20, Return: 30, Got: state(2, "a", "active")},
			operation{Action: lookup, Secret: 1, Call: 40, Return: 50, Got: state(1, "a", "active")})},
		{"a stale 404", false, times(created(),
			operation{Action: get, Gate: 1, Call: 40, Return: 50, Status: 404})},
		{"a stale 412", false, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: edit, Name: "c", IfMatch: 2, Gate: 1, Call: 40, Return: 50, Status: 412})},
		{"a lost update", false, times(created(),
			operation{Action: edit, Name: "b", IfMatch: 1, Call: 20, Return: 60, Got: state(2, "b", "active")},
			operation{Action: edit, Name: "c", IfMatch: 1, Gate: 1, Call: 30, Return: 50,
				Got: state(2, "c", "active")})},
		{"a lost update without If-Match", false, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 60, Got: state(2, "b", "active")},
			operation{Action: disable, Gate: 1, Call: 30, Return: 50, Got: state(2, "a", "disabled")})},
		{"a resurrected token", false, times(created(),
			operation{Action: remove, Call: 20, Return: 30, Status: 204},
			operation{Action: get, Call: 40, Return: 50, Got: state(1, "a", "active")})},
		{"a resurrected revoked token", false, times(created(),
			operation{Action: revoke, Call: 20, Return: 30, Got: state(2, "a", "revoked")},
			operation{Action: edit, Name: "b", Call: 40, Return: 50, Got: state(2, "b", "active")})},
		{"an unknown change that took effect twice", false, times(created(),
			operation{Action: rotate, Secret: 2, Call: 20, Return: 30, Unknown: true},
			operation{Action: get, Call: 40, Return: 50, Got: state(3, "a", "active")})},
		{"a change that took effect before its call", false, times(created(),
			operation{Action: get, Call: 20, Return: 30, Got: state(2, "b", "active")},
			operation{Action: edit, Name: "b", Call: 40, Return: 50, Got: state(2, "b", "active")})},
		{"an unknown change that was undone", false, times(created(),
			operation{Action: edit, Name: "b", Call: 20, Return: 30, Unknown: true},
			operation{Action: get, Call: 40, Return: 50, Got: state(2, "b", "active")},
			operation{Action: get, Gate: 1, Call: 60, Return: 70, Got: state(1, "a", "active")})},
	} {
		problems := checkLinear(test.ops, 10*time.Second)
		if good := len(problems) == 0; good != test.good {
			t.Errorf("%s: got %v, want good %v", test.what, problems, test.good)
		}
	}
}
