package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// health is the gateway's health.
type health struct {
	// Status is "ok", or "damaged" if tokens or records were lost to damage.
	Status string `json:"status"`
	// Warning joins the details of all checks that need attention.
	Warning string       `json:"warning,omitzero"`
	Checks  healthChecks `json:"checks"`
}

// healthChecks holds the result of each health check.
type healthChecks struct {
	Store    healthCheck `json:"store"`
	Journal  healthCheck `json:"journal"`
	Clock    healthCheck `json:"clock"`
	DiskFree healthCheck `json:"disk_free"`
	Damaged  healthCheck `json:"damaged"`
	Backend  healthCheck `json:"backend"`
	Backup   healthCheck `json:"backup"`
	// Replica is nil if the store isn't shared.
	Replica *healthCheck `json:"replica,omitzero"`
}

// healthCheck is the result of one check.
type healthCheck struct {
	// Status is "ok", "warning" or "failed".
	Status string `json:"status"`
	// Detail describes the problem and what to do about it. It is empty if Status is ok.
	Detail string `json:"detail,omitzero"`
	// Bytes is the free disk space.
	Bytes *int64 `json:"bytes,omitzero"`
	// Tokens is the number of damaged tokens.
	Tokens *int `json:"tokens,omitzero"`
	// Time is when the last backup was made.
	Time *timeOrNull `json:"time,omitzero"`
	// AgeSeconds is the age of the copy of a shared store.
	AgeSeconds *int64 `json:"age_seconds,omitzero"`
}

// BackendFailure is a failure of a gate's backend to respond to the last request.
type BackendFailure struct {
	// Gate is the gate's name.
	Gate string
	// Code is the refusal code that the client received.
	Code gate.Code
	Time time.Time
}

const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailed  = "failed"

	healthOK      = "ok"
	healthDamaged = "damaged"
)

// minDiskFree is the free disk space that should remain after a backup or a repair, in
// bytes. Each of them needs as much space as the store itself.
const minDiskFree = 1 << 20

// health reports whether the store can be read and written and whether anything needs
// attention. A clock that is behind causes only a warning, because expired tokens are
// still refused.
func (c *call) health() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	checks, err := c.checks(store)
	if err != nil {
		failed := checks.Store
		if failed.Status == checkOK {
			failed = *checks.Replica
		}
		refusal := refuseError(codeStore, failed.Detail+" See Caddy's log for details.").header("Retry-After",
			storeRetryAfter)
		refusal.Problem = refusal.Problem.With("checks", checks)
		refusal.Err = err
		return refusal
	}
	return c.respond(http.StatusOK, summarize(checks))
}

// checks performs all health checks. The error is the reason why the store or its copy failed.
func (c *call) checks(store *tokenstore.Store) (healthChecks, error) {
	health := store.Health()
	checks := healthChecks{
		Store: healthCheck{Status: checkOK}, Journal: journalCheck(store), Clock: clockCheck(store),
		DiskFree: diskCheck(health), Damaged: damagedCheck(health), Backend: c.backendCheck(),
		Backup: backupCheck(store),
	}
	var stale error
	if store.Shared() {
		stale = store.Stale()
		checks.Replica = replicaCheck(store, stale)
	}
	err := store.Ping()
	switch {
	case err != nil:
		checks.Store = healthCheck{Status: checkFailed, Detail: "The token store can't be read" + cause(err) + "."}
	case health.Write != nil:
		err = health.Write
		checks.Store = healthCheck{Status: checkFailed, Detail: "The token store can't be written" + cause(err) +
			". Existing tokens keep working, but nothing can be changed."}
	default:
		err = stale
	}
	return checks, err
}

// summarize returns the overall health. It must not be called if any check has failed.
func summarize(checks healthChecks) health {
	h := health{Status: healthOK, Checks: checks}
	var warnings []string
	listed := []healthCheck{checks.Clock, checks.Journal, checks.DiskFree, checks.Damaged, checks.Backend}
	if checks.Replica != nil {
		listed = append(listed, *checks.Replica)
	}
	for _, check := range listed {
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

// replicaCheck checks the age of this gate's copy of a shared store. stale is the error from
// Store.Stale.
func replicaCheck(store *tokenstore.Store, stale error) *healthCheck {
	check := &healthCheck{Status: checkOK}
	c := store.Contact()
	asOf, problem := c.AsOf, c.Problem
	contact := "This gate has never had contact with the shared store"
	var age time.Duration
	if !asOf.IsZero() {
		age = store.Now().Sub(asOf)
		seconds := ageSeconds(age)
		check.AgeSeconds = &seconds
		contact = "This gate has had no contact with the shared store for " + roughly(age)
	}
	if problem != nil {
		contact += ": " + redact(strings.TrimSuffix(problem.Error(), "."))
	}
	switch {
	case stale != nil:
		check.Status = checkFailed
		check.Detail = contact + ". All requests are refused until contact is restored."
		if !errors.Is(problem, tokenstore.ErrLostChanges) { // which says what to do
			check.Detail += " Check that the shared store runs and that this gate can reach it."
		}
	case age >= maxReplicaAge || asOf.IsZero():
		check.Status = checkWarning
		end := ""
		if !c.Until.IsZero() {
			end = " until " + c.Until.UTC().Format(time.RFC3339)
		}
		check.Detail = contact + ". Valid keys keep working" + end + "; nothing can be changed."
	}
	return check
}

func clockCheck(store *tokenstore.Store) healthCheck {
	if behind := store.ClockBehind(); behind > 0 {
		return healthCheck{Status: checkWarning, Detail: "The clock is " + roughly(behind) +
			" behind the latest time recorded in the token store. " +
			"The recorded time is used until the clock has caught up. Correct the clock."}
	}
	if ahead := store.ClockAhead(); ahead > 0 {
		return healthCheck{Status: checkWarning, Detail: "The clock is " + roughly(ahead) +
			" ahead of the time that has elapsed while the token store was in use. " +
			"No old data is deleted until you confirm the clock with caddy api-token clock accept, or correct it."}
	}
	return healthCheck{Status: checkOK}
}

// roughly returns a duration in its largest unit, such as "5 days".
func roughly(d time.Duration) string {
	var start time.Time
	return strings.TrimSpace(humanize.RelTime(start, start.Add(d), "", ""))
}

func journalCheck(store *tokenstore.Store) healthCheck {
	switch err := store.CountsAtRisk(); {
	case errors.Is(err, tokenstore.ErrCountsUnread):
		return healthCheck{Status: checkWarning,
			Detail: "Usage counts of an earlier Caddy process can't be read. " +
				"They are missing from statistics and quotas. See Caddy's log for what to do."}
	case err != nil:
		return healthCheck{Status: checkWarning,
			Detail: "Unsaved usage counts have been lost, or would be if Caddy were killed. " +
				"See Caddy's log for the cause."}
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
			"The token store's disk has %d MiB free, but a backup or a repair needs %d MiB. Free some disk space.",
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
		details = append(details, "The token store was damaged and has been repaired. "+
			"Caddy's log and the audit log list what was lost. The damaged file is next to the store.")
	}
	if health.Damaged > 0 {
		details = append(details, fmt.Sprintf("Damaged tokens: %d. Delete them (their status is damaged), "+
			"or restore a backup.", health.Damaged))
	}
	if len(details) > 0 {
		check.Status, check.Detail = checkWarning, strings.Join(details, " ")
	}
	return check
}

func (c *call) backendCheck() healthCheck {
	if c.BackendFailures == nil {
		return healthCheck{Status: checkOK}
	}
	var details []string
	for _, f := range c.BackendFailures() {
		details = append(details, fmt.Sprintf("The backend of the gate at %s did not respond to the last request, "+
			"at %s (%s). Check that it runs and that Caddy can reach it.",
			f.Gate, f.Time.UTC().Format(time.RFC3339), f.Code))
	}
	if len(details) == 0 {
		return healthCheck{Status: checkOK}
	}
	return healthCheck{Status: checkWarning, Detail: strings.Join(details, " ")}
}

func backupCheck(store *tokenstore.Store) healthCheck {
	check := healthCheck{Status: checkOK}
	if at, err := store.LastBackup(); err == nil && !at.IsZero() {
		check.Time = (*timeOrNull)(&at)
	}
	return check
}

// cause returns the cause of a store error, worded as the end of a sentence, or "" for an
// unknown cause. The result never contains a path.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, tokenstore.ErrFull):
		return ": the shared store is out of space. Free space there; etcd also needs its NOSPACE alarm disarmed"
	case errors.Is(err, tokenstore.ErrDenied):
		return ": the shared store denies this gate access. " +
			"Check the user and the password in Caddy's configuration, and the user's permissions in the shared store"
	case errors.Is(err, tokenstore.ErrLostChanges):
		return ": the shared store has lost changes that this gate knows, such as revocations. " +
			"Put back the newer store, or accept the older one with caddy api-token cluster accept"
	case errors.Is(err, tokenstore.ErrReading):
		return ": this gate is still reading the shared store"
	case errors.As(err, &errno):
		return ": " + errno.Error()
	case errors.Is(err, tokenstore.ErrReplaced):
		return ": its file was replaced, moved or overwritten while in use. " +
			"Stop Caddy, restore a backup with caddy api-token restore, and start Caddy"
	case errors.Is(err, tokenstore.ErrClosed):
		return ": it is closed"
	case errors.Is(err, tokenstore.ErrStale):
		return ": this gate has had no contact with the shared store for too long. " +
			"Check that the shared store runs and that this gate can reach it"
	case errors.Is(err, tokenstore.ErrBehind), errors.Is(err, tokenstore.ErrNoContact):
		return ": this gate can't reach the shared store. " +
			"Check that the shared store runs and that this gate can reach it"
	}
	return ""
}

type acceptedClock struct {
	From    timeOrNull `json:"from"`
	To      timeOrNull `json:"to"`
	Changed bool       `json:"changed"`
}

// acceptClock accepts the server's current clock after the clock wrongly ran ahead, or
// after the store has been unused for days.
func (c *call) acceptClock() *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
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
		consequence := "old audit entries and usage history will be deleted again"
		if to.Before(from) {
			consequence = "tokens that had expired by the recorded time may be valid again"
		}
		c.Logger.Warn("clock accepted: "+consequence,
			zap.Time("recorded", from), zap.Time("clock", to), zap.Inline(loggedActor(c.actor)))
	}
	return c.respond(http.StatusOK, acceptedClock{timeOrNull(from), timeOrNull(to), changed})
}
