package faults

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/anishathalye/porcupine"
)

// tokenState is the state of a token in the model.
type tokenState struct {
	Exists            bool
	Version           uint64
	Name              string
	Disabled, Revoked bool
	Secret            int
}

func (s tokenState) status() string {
	switch {
	case s.Revoked:
		return "revoked"
	case s.Disabled:
		return "disabled"
	}
	return "active"
}

// next returns the state after an operation and the operation's HTTP status.
func (s tokenState) next(o operation) (tokenState, int) {
	if o.Action == create {
		if s.Exists {
			return s, 0 // an ID is never given twice
		}
		return tokenState{Exists: true, Version: 1, Name: o.Name, Secret: o.Secret}, http.StatusCreated
	}
	switch {
	case !s.Exists, o.Action == lookup && s.Secret != o.Secret:
		return s, http.StatusNotFound
	case o.IfMatch != 0 && o.IfMatch != s.Version:
		return s, http.StatusPreconditionFailed
	case s.Revoked && (o.Action == edit || o.Action == enable || o.Action == rotate):
		return s, http.StatusConflict
	}
	before := s
	switch o.Action {
	case edit:
		s.Name = o.Name
	case revoke:
		s.Revoked = true
	case disable:
		s.Disabled = s.Disabled || !s.Revoked
	case enable:
		s.Disabled = false
	case rotate:
		s.Secret = o.Secret
	case remove:
		return tokenState{}, http.StatusNoContent
	}
	if s != before {
		s.Version++
	}
	return s, http.StatusOK
}

// step reports whether the operation can have its result in the state, and returns the state
// after it.
func (s tokenState) step(o operation) (bool, tokenState) {
	after, status := s.next(o)
	if o.Unknown {
		// An operation that never took effect does so at the end of the history.
		return true, after
	}
	if status != o.Status {
		return false, s
	}
	if got := o.Got; got != nil &&
		(got.Version != after.Version || got.Name != after.Name || got.Status != after.status()) {
		return false, s
	}
	return true, after
}

// model checks one token's operations.
var model = porcupine.Model{
	Init: func() any { return tokenState{} },
	Step: func(state, input, _ any) (bool, any) {
		ok, after := state.(tokenState).step(input.(operation))
		return ok, after
	},
	DescribeOperation: func(input, _ any) string {
		o := input.(operation)
		text := fmt.Sprintf("gate %d: %s", o.Gate, o.Action)
		if o.IfMatch != 0 {
			text += fmt.Sprintf(" if %d", o.IfMatch)
		}
		if o.Name != "" {
			text += " " + o.Name
		}
		if o.Secret != 0 {
			text += fmt.Sprintf(" secret %d", o.Secret)
		}
		switch {
		case o.Unknown:
			return text + " → ?"
		case o.Got != nil:
			return fmt.Sprintf("%s → %d %+v", text, o.Status, *o.Got)
		}
		return fmt.Sprintf("%s → %d", text, o.Status)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// linearProblem is a token whose operations are not linearizable.
type linearProblem struct {
	Token string
	// Timeout is set if the checker couldn't decide in time.
	Timeout bool
	info    porcupine.LinearizationInfo
}

func (p linearProblem) String() string {
	if p.Timeout {
		return fmt.Sprintf("token %s: the checker couldn't decide in time", p.Token)
	}
	return fmt.Sprintf("token %s: the operations are not linearizable", p.Token)
}

// visualize writes a page for a browser that shows the token's operations, and how far they are
// linearizable.
func visualize(p linearProblem, w io.Writer) error { return porcupine.Visualize(model, p.info, w) }

// checkLinear returns the tokens whose operations are not linearizable. It ignores what a gate
// read or refused without contact, and reads without a result.
func checkLinear(operations []operation, timeout time.Duration) (problems []linearProblem) {
	byToken := make(map[string][]porcupine.Operation)
	for i, o := range operations {
		reads := o.Action == get || o.Action == lookup
		if o.Age != "" && !o.Unknown && (reads || o.Status >= 400) || o.Unknown && reads {
			continue
		}
		returned := int64(o.Return)
		if o.Unknown {
			returned = math.MaxInt64
		}
		// Operations of one client may overlap, because an operation with an unknown outcome
		// never returns.
		byToken[o.Token] = append(byToken[o.Token], porcupine.Operation{ClientId: i, Input: o, Call: int64(o.Call),
			Return: returned})
	}
	deadline := time.Now().Add(timeout)
	for token, list := range byToken {
		left := max(time.Until(deadline), time.Second)
		result, info := porcupine.CheckOperationsVerbose(model, list, left)
		if result != porcupine.Ok {
			problems = append(problems, linearProblem{token, result == porcupine.Unknown, info})
		}
	}
	return problems
}
