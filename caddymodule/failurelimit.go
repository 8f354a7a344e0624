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

// FailureLimit is how many wrong tokens an address may present. An address is one
// of IPv4, or a /64 of IPv6.
type FailureLimit struct {
	// So many at once; -1 is no limit.
	Failures int `json:"failures,omitempty"`
	// The time after which they are all forgiven. They are forgiven evenly.
	Window caddy.Duration `json:"window,omitempty"`
}

func (l *FailureLimit) validate() error {
	if l == nil || l.Failures < 0 {
		return nil
	}
	if l.Failures == 0 || l.Window < caddy.Duration(time.Second) {
		return errors.New(
			"failure_limit: give at least 1 failure in a window of at least 1s, or -1 failures for no limit")
	}
	return nil
}

// limit returns the limit that the gate uses, or nil for none.
func (l *FailureLimit) limit() *gate.FailureLimit {
	if l.Failures < 0 {
		return nil
	}
	return gate.NewFailureLimit(l.Failures, time.Duration(l.Window))
}

// parseFailureLimit reads "100 1m", or "off".
func (h *BearerAuth) parseFailureLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 1 && args[0] == "off" {
		h.FailureLimit = &FailureLimit{Failures: -1}
		return nil
	}
	if len(args) != 2 {
		return d.Err("failure_limit: give a number and a time, for example: failure_limit 100 1m; or off")
	}
	failures, err := strconv.Atoi(args[0])
	if err != nil || failures < 1 {
		return d.Err("failure_limit: the number of failures is 1 or more, for example: failure_limit 100 1m")
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil || window < time.Second {
		return d.Err("failure_limit: the time is 1s or more, for example: failure_limit 100 1m")
	}
	h.FailureLimit = &FailureLimit{Failures: failures, Window: caddy.Duration(window)}
	return nil
}
