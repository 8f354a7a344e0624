package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Event announces a change to a token or counted requests.
type Event struct {
	// Type is "change" or "usage".
	Type string
	// Action is what a change event did, such as "revoke". It is empty if the server reports
	// only that there were many changes.
	Action string
	// IDs are the tokens that the event concerns. They are nil if there were many.
	IDs []string
}

// Events is a stream of events.
type Events struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

// Events opens a stream of events. The caller must close it.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	response, err := c.open(ctx, "/events", "text/event-stream") //nolint:bodyclose // by Events.Close
	if err != nil {
		return nil, err
	}
	return &Events{response.Body, bufio.NewScanner(response.Body)}, nil
}

// Next waits for the next event. It returns [io.EOF] if the server has ended the stream. It
// skips events of unknown types.
func (e *Events) Next() (Event, error) {
	var name, data string
	for e.lines.Scan() {
		line := e.lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			name = value
		case field == "data":
			data = value // the server writes one data line per event
		case line == "" && (name == "change" || name == "usage"):
			return newEvent(name, data)
		case line == "":
			name, data = "", ""
		}
	}
	err := e.lines.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return Event{}, errors.New("the server sent an event that is too long")
	case err != nil:
		return Event{}, transportError(err)
	}
	return Event{}, io.EOF
}

func newEvent(name, data string) (Event, error) {
	var fields struct {
		Action   string   `json:"action"`
		TokenID  string   `json:"token_id"`
		TokenIDs []string `json:"token_ids"`
	}
	if err := decode(json.RawMessage(data), &fields); err != nil {
		return Event{}, err
	}
	event := Event{Type: name, Action: fields.Action, IDs: fields.TokenIDs}
	if fields.TokenID != "" {
		event.IDs = []string{fields.TokenID}
	}
	return event, nil
}

// Close ends the stream.
func (e *Events) Close() error { return e.body.Close() }
