package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// action is a call of the admin API.
type action string

const (
	create  action = "create"
	get     action = "get"
	lookup  action = "lookup"
	edit    action = "edit"
	revoke  action = "revoke"
	disable action = "disable"
	enable  action = "enable"
	rotate  action = "rotate"
	remove  action = "delete"
)

// operation is a call of the admin API as a client has seen it. Times are relative to the
// begin of the run, on the monotonic clock of the test.
type operation struct {
	Client, Gate int
	Action       action
	Token        string
	// IfMatch is the version in the If-Match header, or 0.
	IfMatch uint64 `json:",omitzero"`
	// Name is the name that the call sets.
	Name string `json:",omitzero"`
	// Secret identifies the secret that the call creates or looks up. Each secret of a run has
	// a number of its own, also if the client never learns the secret.
	Secret       int `json:",omitzero"`
	Call, Return time.Duration
	// Unknown is set if the client doesn't know whether the call took effect: it got no
	// response, or a response with a 5xx status.
	Unknown bool   `json:",omitzero"`
	Error   string `json:",omitzero"`
	Code    string `json:",omitzero"`
	Status  int    `json:",omitzero"`
	// Age is the response's Mollygate-Replica-Age header. If it isn't empty, the gate had no
	// contact, and the response may be old.
	Age string `json:",omitzero"`
	// Got is the token in the response, if there is one.
	Got *object `json:",omitzero"`
}

// object is what the checkers compare of a token object.
type object struct {
	Version uint64 `json:"version"`
	Name    string `json:"name"`
	Status  string `json:"status"`
}

// sighting is a request at a gate with a token's secret.
type sighting struct {
	Gate         int
	Token        string
	Secret       int
	Call, Return time.Duration
	// Status is 0 if there was no response.
	Status int
	Code   string `json:",omitzero"`
	// Name is the token's name that the gate sent to the backend.
	Name string `json:",omitzero"`
}

// excuse is a time in which a gate may respond with 503.
type excuse struct {
	Gate     int
	From, To time.Duration
	Why      string
}

// history is what happened in a run.
type history struct {
	begun time.Time

	mu         sync.Mutex
	Operations []operation
	Sightings  []sighting
	Excuses    []excuse
	// Events describe the faults.
	Events []event
}

type event struct {
	Time time.Duration
	What string
}

func newHistory() *history { return &history{begun: time.Now()} }

// now returns the time since the run began.
func (h *history) now() time.Duration { return time.Since(h.begun) }

func (h *history) operated(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Operations = append(h.Operations, o)
}

func (h *history) sighted(s sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Sightings = append(h.Sightings, s)
}

func (h *history) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Events = append(h.Events, event{h.now(), what})
}

// excuse permits a gate to respond with 503 from now until the returned function is called.
func (h *history) excuse(gate int, why string) (end func(more time.Duration)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := len(h.Excuses)
	h.Excuses = append(h.Excuses, excuse{Gate: gate, From: h.now(), To: forever, Why: why})
	return func(more time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.Excuses[i].To = h.now() + more
	}
}

// forever is later than any time in a history.
const forever = time.Duration(1<<62 - 1)

// dump writes the history to a file in dir.
func (h *history) dump(dir string) (file string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "history.json")
	return file, os.WriteFile(file, text, 0o600)
}

// describe sums up the history.
func (h *history) describe() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	unknown, old := 0, 0
	for _, o := range h.Operations {
		if o.Unknown {
			unknown++
		}
		if o.Age != "" {
			old++
		}
	}
	statuses := make(map[int]int)
	for _, s := range h.Sightings {
		statuses[s.Status]++
	}
	return fmt.Sprintf("%d admin calls (%d with unknown outcome, %d served without contact), %d requests by status: %v",
		len(h.Operations), unknown, old, len(h.Sightings), statuses)
}
