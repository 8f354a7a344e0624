package caddymodule

import (
	"errors"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mollygate/mollygate/gate"
)

const (
	defaultFailures      = 100
	defaultFailureWindow = time.Minute
)

// FailureLimit limits how many invalid tokens a client address may present. An address is an
// IPv4 address or an IPv6 /64.
type FailureLimit struct {
	// The maximum number of failures in a burst; -1 for no limit.
	Failures int `json:"failures,omitempty"`
	// How long the limit takes to refill completely, at a constant rate.
	Window caddy.Duration `json:"window,omitempty"`
}

func (l *FailureLimit) validate() error {
	if l == nil || l.Failures < 0 {
		return nil
	}
	if l.Failures == 0 || l.Window < caddy.Duration(time.Second) {
		return errors.New(
			"failure_limit: must allow at least 1 failure in a window of at least 1s; -1 failures means no limit")
	}
	return nil
}

// limit returns the gate's limit, or nil for no limit.
func (l *FailureLimit) limit() *gate.FailureLimit {
	if l.Failures < 0 {
		return nil
	}
	return gate.NewFailureLimit(l.Failures, time.Duration(l.Window))
}

// parseFailureLimit parses arguments such as "100 1m", or "off".
func (h *BearerAuth) parseFailureLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 1 && args[0] == "off" {
		h.FailureLimit = &FailureLimit{Failures: -1}
		return nil
	}
	if len(args) != 2 {
		return d.Err("failure_limit: write a number and a window, for example: failure_limit 100 1m, or off")
	}
	failures, err := strconv.Atoi(args[0])
	if err != nil || failures < 1 {
		return d.Err("failure_limit: the number of failures must be 1 or more, for example: failure_limit 100 1m")
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil || window < time.Second {
		return d.Err("failure_limit: the window must be 1s or more, for example: failure_limit 100 1m")
	}
	h.FailureLimit = &FailureLimit{Failures: failures, Window: caddy.Duration(window)}
	return nil
}
