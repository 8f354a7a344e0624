package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// health is the condition of the gateway.
type health struct {
	// Status is "ok", or "damaged" if tokens or records were lost to damage.
	Status string `json:"status"`
	// Warning is about what works and should be looked at.
	Warning string       `json:"warning,omitzero"`
	Checks  healthChecks `json:"checks"`
}

// healthChecks are the checks that make up the health.
type healthChecks struct {
	Store    healthCheck `json:"store"`
	Journal  healthCheck `json:"journal"`
	Clock    healthCheck `json:"clock"`
	DiskFree healthCheck `json:"disk_free"`
	Damaged  healthCheck `json:"damaged"`
}

// healthCheck is "ok", "warning" or "failed", and what to do unless it is ok.
type healthCheck struct {
	Status string `json:"status"`
	Detail string `json:"detail,omitzero"`
	// Bytes is how much can be written to the disk.
	Bytes *int64 `json:"bytes,omitzero"`
	// Tokens is how many tokens are damaged.
	Tokens *int `json:"tokens,omitzero"`
}

const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailed  = "failed"

	healthOK      = "ok"
	healthDamaged = "damaged"
)

// minDiskFree is how many bytes of free disk space are too few, in addition to what a backup
// or a repair needs, which is as much as the store takes.
const minDiskFree = 1 << 20

// health reports whether the store can be read and written, and what should be looked at.
// A clock that is behind is no failure: no token is accepted that shouldn't be.
func (c *call) health() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	health := store.Health()
	checks := healthChecks{
		Store: healthCheck{Status: checkOK}, Journal: journalCheck(store), Clock: clockCheck(store),
		DiskFree: diskCheck(health), Damaged: damagedCheck(health),
	}
	err := store.Ping()
	switch {
	case err != nil:
		checks.Store = healthCheck{Status: checkFailed, Detail: "The token store can't be read" + cause(err) + "."}
	case health.Write != nil:
		err = health.Write
		checks.Store = healthCheck{Status: checkFailed, Detail: "The token store can't be written" + cause(err) +
			". Tokens in use go on working; nothing can be changed."}
	}
	if err != nil {
		refusal := refuseError(codeStore, checks.Store.Detail+" Caddy's log says more.").header("Retry-After",
			storeRetryAfter)
		refusal.Problem = refusal.Problem.With("checks", checks)
		refusal.Err = err
		return refusal
	}
	return c.answer(http.StatusOK, summarize(checks))
}

// summarize sums up checks none of which has failed.
func summarize(checks healthChecks) health {
	h := health{Status: healthOK, Checks: checks}
	var warnings []string
	for _, check := range []healthCheck{checks.Clock, checks.Journal, checks.DiskFree, checks.Damaged} {
		if check.Status != checkOK {
			warnings = append(warnings, check.Detail)
		}
	}
	if checks.Damaged.Status != checkOK {
		h.Status = healthDamaged
	}
	h.Warning = strings.Join(warnings, " ")
	return h
}

func clockCheck(store *tokenstore.Store) healthCheck {
	if behind := store.ClockBehind(); behind > 0 {
		return healthCheck{Status: checkWarning, Detail: "The clock is " + behind.Round(time.Second).String() +
			" behind the newest time the token store has recorded. " +
			"The recorded time counts until the clock has caught up; set the clock right."}
	}
	if ahead := store.ClockAhead(); ahead > 0 {
		return healthCheck{Status: checkWarning, Detail: "The clock is " + ahead.Round(time.Second).String() +
			" ahead of the time that has passed while the token store was in use. " +
			"Nothing old is deleted until it is confirmed with caddy api-token clock accept, or set right."}
	}
	return healthCheck{Status: checkOK}
}

func journalCheck(store *tokenstore.Store) healthCheck {
	switch err := store.CountsAtRisk(); {
	case errors.Is(err, tokenstore.ErrCountsUnread):
		return healthCheck{Status: checkWarning,
			Detail: "Counts of an earlier Caddy process can't be read and are missing, also in quotas. Caddy's log says what to do."}
	case err != nil:
		return healthCheck{Status: checkWarning,
			Detail: "Counts that aren't saved yet would be lost if Caddy were killed, or have been. Caddy's log says why."}
	}
	return healthCheck{Status: checkOK}
}

func diskCheck(health tokenstore.Health) healthCheck {
	if health.DiskFree < 0 {
		return healthCheck{Status: checkOK}
	}
	check := healthCheck{Status: checkOK, Bytes: &health.DiskFree}
	if need := minDiskFree + health.Size; health.DiskFree < need {
		check.Status = checkWarning
		check.Detail = fmt.Sprintf(
			"The disk of the token store has %d MiB left, and a backup or a repair needs %d MiB. Free some.",
			health.DiskFree>>20, need>>20)
	}
	return check
}

func damagedCheck(health tokenstore.Health) healthCheck {
	check := healthCheck{Status: checkOK, Tokens: &health.Damaged}
	var details []string
	if health.Unrepaired != nil {
		details = append(details, "The token store is damaged and could not be repaired"+cause(health.Unrepaired)+
			". Stop Caddy and run caddy api-token repair, or restore a backup.")
	}
	if len(health.Repairs) > 0 {
		details = append(details,
			"The token store was damaged and has been repaired. Caddy's log and the audit say what was lost; the damaged file is kept next to the store.")
	}
	if health.Damaged > 0 {
		details = append(details,
			fmt.Sprintf(
				"Tokens that can't be read: %d. Delete them (they are listed with the status damaged), or restore a backup.", health.Damaged))
	}
	if len(details) > 0 {
		check.Status, check.Detail = checkWarning, strings.Join(details, " ")
	}
	return check
}

// cause returns why the store fails, for the end of a sentence, or nothing. It names no path.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return ": " + errno.Error()
	case errors.Is(err, tokenstore.ErrReplaced):
		return ": its file was replaced, moved or overwritten while in use. Stop Caddy, restore a backup with caddy api-token restore, and start Caddy"
	case errors.Is(err, tokenstore.ErrClosed):
		return ": it is closed"
	}
	return ""
}

type acceptedClock struct {
	From    timeOrNull `json:"from"`
	To      timeOrNull `json:"to"`
	Changed bool       `json:"changed"`
}

// acceptClock takes the clock for right: after it wrongly ran ahead, or after the store
// was not in use for days.
func (c *call) acceptClock() *Refusal {
	if refusal := c.decodeNothing(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	from, to, err := store.AcceptClock(c.actor)
	if err != nil {
		return c.changeRefusal(err)
	}
	changed := !to.Equal(from)
	if changed {
		consequence := "old audit entries and usage are deleted again"
		if to.Before(from) {
			consequence = "tokens that had expired by the recorded time may be valid again"
		}
		c.Logger.Warn("clock accepted: "+consequence,
			zap.Time("recorded", from), zap.Time("clock", to), zap.Inline(loggedActor(c.actor)))
	}
	return c.answer(http.StatusOK, acceptedClock{timeOrNull(from), timeOrNull(to), changed})
}
