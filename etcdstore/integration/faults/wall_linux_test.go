package faults

import (
	"maps"
	"slices"
	"sync"
)

// A wall drops packets that arrive at a node. Several faults can use it at the same time.
type wall struct {
	mu       sync.Mutex
	firewall *firewall
	senders  map[string]int // number of cuts, by the sender's address
}

func newWall(n *namespace) (*wall, error) {
	f, err := newFirewall(n)
	if err != nil {
		return nil, err
	}
	return &wall{firewall: f, senders: make(map[string]int)}, nil
}

// cut drops packets from the senders until the returned function is called.
func (w *wall) cut(senders ...string) (heal func() error, err error) {
	if err := w.change(1, senders); err != nil {
		return nil, err
	}
	return func() error { return w.change(-1, senders) }, nil
}

func (w *wall) change(by int, senders []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sender := range senders {
		if w.senders[sender] += by; w.senders[sender] == 0 {
			delete(w.senders, sender)
		}
	}
	return w.firewall.drop(slices.Sorted(maps.Keys(w.senders))...)
}
