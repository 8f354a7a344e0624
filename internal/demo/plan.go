package demo

import (
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// plan describes a token and its use. Days are counted back from the end of the history.
type plan struct {
	name, account, owner, tags, note string
	// scopes is nil for admin tokens. uses lists the scopes in use, most used first.
	scopes token.Grants
	uses   []string
	// made is the day of the token's creation.
	made float64
	life string
	// startsIn is the number of days until the token becomes valid.
	startsIn int
	ips      []string
	rate     *token.RateLimit
	quota    *token.Quota

	// perHour is the number of requests per hour when the rhythm is 1.
	perHour     float64
	rhythm      func(hour time.Time) float64
	from, agent string
	// quiet is the day of the last use, or 0. busy is a day with far too many requests, or 0.
	quiet, busy float64
	wrong       wrong
}

// wrong describes a share of requests that is refused.
type wrong struct {
	share float64
	code  gate.Code
	// scope or route, if set, replaces the scope or route of the request, and from its address.
	scope, route, from string
}

// office is the rhythm of people at work in Central Europe.
func office(t time.Time) float64 {
	return weekdays(t, .12, [24]float64{0, 0, 0, 0, 0, .1, .4, .8, 1, 1.1, .9, .6, 1, 1.2, 1.1, .8, .5, .2, .1, .1})
}

// always is the rhythm of machines that poll.
func always(time.Time) float64 { return 1 }

// nightly is the rhythm of jobs that run once a night.
func nightly(t time.Time) float64 {
	if t.Hour() == 1 {
		return 1
	}
	return 0
}

// visitors is the rhythm of a public page.
func visitors(t time.Time) float64 {
	return weekdays(t, .6, [24]float64{.2, .1, .1, .1, .2, .4, .7, 1, 1.1, 1.2, 1.1, 1, 1.1, 1.2, 1.1, 1, .9, .9, 1,
		1.1, .9, .7, .5, .3})
}

// weekdays returns the value for the hour, times weekend on Saturdays and Sundays.
func weekdays(t time.Time, weekend float64, hours [24]float64) float64 {
	if t.Weekday() == time.Saturday || t.Weekday() == time.Sunday {
		return hours[t.Hour()] * weekend
	}
	return hours[t.Hour()]
}

const (
	list, create, destroy = "unikernel:list", "unikernel:create", "unikernel:destroy"
	restart, update       = "unikernel:restart", "unikernel:update"
	rollback, console     = "unikernel:rollback", "unikernel:console"
	scale, watch          = "unikernel:scale", "monitoring:read"
	download, upload      = "block:download", "block:upload"

	runner, oldRunner = "203.0.113.24", "203.0.113.87"
	curl, actions     = "curl/8.14.1", "mollymawk-deploy/1.6 (GitHub Actions)"
	browser           = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
)

var (
	readScopes   = token.Grants{list, console}
	deployScopes = token.Grants{list, create, restart, update, rollback, console}
	everything   = token.Grants{"*"}
	lacksDestroy = wrong{share: .03, code: gate.InsufficientScope, scope: destroy}
)

func perMinute(n int64) *token.RateLimit { return &token.RateLimit{Requests: n, Window: time.Minute} }

func perMonth(n int64) *token.Quota { return &token.Quota{Requests: n, Period: token.PeriodMonth} }

// plans lists the tokens. Of those made on the same day, the first is created first.
var plans = []plan{
	{name: "carol", made: 119.9, life: "1y", perHour: 3, rhythm: office, from: "198.51.100.12", agent: browser},
	{name: "GitHub Actions deploy", owner: "platform", tags: "ci, production",
		note: "Used by every repository's deploy job.", scopes: deployScopes,
		uses: []string{list, update, create, restart}, made: 119.8, life: "1y", perHour: 14, rhythm: office,
		from: runner, agent: actions, rate: perMinute(120), wrong: lacksDestroy},
	{name: "dave", made: 118, life: "1y", perHour: .6, rhythm: office, from: "198.51.100.31", agent: browser},
	{name: "erin (on call)", made: 60, life: "6mo", perHour: .2, rhythm: visitors, from: "2001:db8:4::1f",
		agent: browser},
	{name: "status page", owner: "web team", tags: "production", scopes: token.Grants{list, watch},
		uses: []string{list, watch}, made: 117, life: "2y", perHour: 24, rhythm: visitors, from: "192.0.2.10",
		agent: "statuspage/3.2", rate: perMinute(60)},
	{name: "uptime probe", owner: "platform", tags: "production, monitoring", scopes: token.Grants{list},
		uses: []string{list}, made: 116, life: "1y", perHour: 12, rhythm: always, from: "192.0.2.77",
		agent: "blackbox/0.27"},
	{name: "Prometheus", owner: "platform", tags: "monitoring", scopes: token.Grants{watch}, uses: []string{watch},
		made: 115, life: "2y", perHour: 20, rhythm: always, from: "10.20.0.9", agent: "Prometheus/3.5.0",
		ips: []string{"10.20.0.0/16"}},
	{name: "nightly backup", account: "alice", owner: "storage", tags: "backup, production",
		note: "Runs at 01:00 UTC on backup-1.", scopes: token.Grants{download}, uses: []string{download}, made: 114,
		life: "1y", perHour: 18, rhythm: nightly, from: "10.20.4.2", agent: "mollybackup/2.0",
		ips: []string{"10.20.4.0/24"}, quota: perMonth(2000)},
	{name: "release bot", owner: "platform", tags: "ci, production",
		scopes: token.Grants{list, create, update, rollback, scale, destroy}, uses: []string{update, list}, made: 110,
		life: "1y", perHour: 1.2, rhythm: office, from: runner, agent: "release-bot/0.9"},
	{name: "staging deploy", account: "alice", owner: "web team", tags: "ci, staging", scopes: deployScopes,
		uses: []string{list, create, update, restart, console, rollback}, made: 108, life: "1y", perHour: 6,
		rhythm: office, from: runner, agent: actions, rate: perMinute(30), busy: 12.4},
	{name: "Terraform", owner: "platform", tags: "infrastructure",
		note: "To be replaced by separate keys for each workspace.", scopes: everything, uses: []string{list, scale},
		made: 107, life: "1y", perHour: 2, rhythm: office, from: "203.0.113.61", agent: "Terraform/1.13"},
	{name: "console viewer", account: "alice", owner: "web team", tags: "internal", scopes: readScopes,
		uses: []string{console, list}, made: 104, life: "6mo", perHour: 3, rhythm: office, from: "198.51.100.40",
		agent: browser},
	{name: "image uploader", account: "bob", owner: "storage", tags: "internal", scopes: token.Grants{"block:*"},
		uses: []string{upload, "block:create", download, "block:delete"}, made: 103, life: "1y", perHour: 1.5,
		rhythm: office, from: "198.51.100.66", agent: curl, quota: perMonth(5000)},
	{name: "intranet widget", owner: "web team", scopes: token.Grants{list}, uses: []string{list}, made: 102,
		life: "1y", perHour: 2, rhythm: office, from: "10.30.1.5", agent: "Go-http-client/1.1", quiet: 97},
	{name: "bob's scripts", account: "bob", owner: "bob", scopes: deployScopes, uses: []string{list}, made: 101,
		life: "1y", perHour: 1, rhythm: office, from: "198.51.100.66", agent: curl, quiet: 94},
	{name: "autoscaler", owner: "platform", tags: "production", scopes: token.Grants{list, scale},
		uses: []string{list, scale}, made: 100, life: "1y", perHour: 10, rhythm: visitors, from: "10.20.0.31",
		agent: "autoscaler/1.1", rate: perMinute(20)},
	{name: "GitLab runner", account: "bob", owner: "mobile", tags: "ci", note: "Moved to GitHub Actions.",
		scopes: deployScopes, uses: []string{list, update}, made: 99, life: "1y", perHour: 4, rhythm: office,
		from: "203.0.113.140", agent: "gitlab-runner/18.2"},
	{name: "contractor access", account: "alice", owner: "web team", tags: "external",
		scopes: token.Grants{list, console, restart}, uses: []string{list, console}, made: 92, life: "60d", perHour: 1,
		rhythm: office, from: "198.51.100.203", agent: curl},
	{name: "load test", account: "alice", owner: "performance", tags: "staging",
		scopes: token.Grants{list, create, destroy}, uses: []string{list, create, destroy}, made: 90, life: "1y",
		perHour: .8, rhythm: office, from: "203.0.113.9", agent: "k6/1.2.0"},
	{name: "data science notebook", account: "bob", owner: "data", tags: "internal",
		scopes: token.Grants{list, download}, uses: []string{download}, made: 88.5, life: "90d", perHour: 1,
		rhythm: office, from: "10.40.2.18", agent: "python-requests/2.32"},
	{name: "chat bot", owner: "platform", tags: "internal", scopes: token.Grants{list, restart},
		uses: []string{list, restart}, made: 86, life: "90d", perHour: .7, rhythm: office, from: "10.20.0.44",
		agent: "chatbot/5", wrong: lacksDestroy},
	{name: "mail relay watcher", owner: "platform", tags: "monitoring", scopes: readScopes, uses: []string{list},
		made: 80, life: "1y", perHour: 4, rhythm: always, from: "10.20.0.52", agent: curl},
	{name: "edge cache purge", owner: "web team", tags: "production", scopes: token.Grants{restart},
		uses: []string{restart}, made: 74, life: "1y", perHour: .4, rhythm: office, from: "192.0.2.14",
		agent: "purge/1.0", ips: []string{"192.0.2.0/28"},
		wrong: wrong{share: .08, code: gate.IPDenied, from: "192.0.2.130"}},
	{name: "preview environments", account: "alice", owner: "web team", tags: "ci, staging",
		scopes: token.Grants{list, create, destroy}, uses: []string{create, destroy, list}, made: 63, life: "6mo",
		perHour: 5, rhythm: office, from: runner, agent: actions, quota: perMonth(1500)},
	{name: "temporary debugging", owner: "carol", scopes: readScopes, uses: []string{console}, made: 40, life: "30d",
		perHour: 3, rhythm: office, from: "198.51.100.12", agent: curl},
	{name: "inventory export", account: "bob", owner: "finance", tags: "reports", scopes: token.Grants{list},
		uses: []string{list}, made: 35, life: "1y", perHour: 1, rhythm: nightly, from: "10.40.7.3",
		agent: "python-requests/2.32"},
	{name: "mobile CI", account: "bob", owner: "mobile", tags: "ci", scopes: deployScopes,
		uses: []string{list, create, update}, made: 34, life: "1y", perHour: 4, rhythm: office, from: "203.0.113.25",
		agent: actions, wrong: wrong{share: .05, code: gate.RouteNotAllowed, route: "GET /api/users"}},
	{name: "security scan", owner: "security", tags: "audit", scopes: readScopes, uses: []string{list, console},
		made: 27, life: "30d", perHour: 6, rhythm: nightly, from: "10.20.9.9", agent: "scanner/4.4",
		wrong: wrong{share: .3, code: gate.RouteNotAllowed, route: "GET /api/admin/users"}},
	{name: "canary", owner: "platform", tags: "production", scopes: token.Grants{list, update, rollback},
		uses: []string{list, update}, made: 21, life: "90d", perHour: 2, rhythm: office, from: "10.20.0.31",
		agent: "canary/0.3"},
	{name: "alice's laptop", account: "alice", owner: "alice", scopes: everything,
		uses: []string{list, console, create, update, restart, download}, made: 16, life: "90d", perHour: 2,
		rhythm: office, from: "2001:db8:77::c0de", agent: curl},
	{name: "docs preview", account: "alice", owner: "docs", tags: "staging", scopes: token.Grants{list, create},
		uses: []string{create, list}, made: 6, life: "90d", perHour: 1, rhythm: office, from: runner, agent: actions},
	{name: "quarterly migration", account: "bob", owner: "storage", tags: "maintenance",
		scopes: token.Grants{"block:*", list}, uses: []string{download}, made: 3, life: "6mo", startsIn: 5,
		rhythm: office},
	{name: "new status page", owner: "web team", tags: "production", scopes: token.Grants{list, watch},
		uses: []string{list}, made: .4, life: "1y", rhythm: office},
}

// change changes a token.
type change struct {
	ago  float64 // days before the end of the history
	name string
	kind changeKind
	edit token.Edit
}

type changeKind int

const (
	edit changeKind = iota
	rotate
	disable
	revoke
	remove
)

func note(text string) token.Edit { return token.Edit{Metadata: map[string]*string{"note": &text}} }

// changes lists the changes of tokens, by the names with which they were created.
var changes = []change{
	{ago: 71, name: "Prometheus", edit: note("Scrapes every 3 minutes.")},
	{ago: 46, name: "console viewer", kind: rotate},
	{ago: 38, name: "temporary debugging", kind: remove},
	{ago: 24.3, name: "image uploader", edit: token.Edit{Name: new("image upload")}},
	{ago: 12.1, name: "staging deploy", edit: note("Retried without a pause when it was rate limited.")},
	{ago: 9.2, name: "GitLab runner", kind: revoke},
	{ago: 5.6, name: "load test", kind: disable},
	{ago: 3.3, name: "GitHub Actions deploy", kind: rotate},
	{ago: 1.2, name: "docs preview", edit: token.Edit{Scopes: token.Grants{list, create, update}}},
}
