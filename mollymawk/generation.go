package mollymawk

import (
	"strings"

	"github.com/mollygate/mollygate/gate"
)

// renameBlock sets a block route's path to this generation's path and adds the other
// generation's path as an alias.
func (g generation) renameBlock(route *gate.Route) {
	action, ok := strings.CutPrefix(route.Path, "/api/block/")
	if !ok {
		return
	}
	route.Aliases = []string{"/api/volume/" + action}
	if g == generation2025 {
		route.Path, route.Aliases[0] = route.Aliases[0], route.Path
	}
}

// lacks reports whether backends of this generation lack a route.
func (g generation) lacks(route gate.Route) bool {
	if g == current {
		return false
	}
	return strings.HasPrefix(route.Path, "/api/unikernel/scaling/") ||
		strings.HasPrefix(route.Path, "/api/unikernel/monitoring/")
}

// restart implements gate.Route.Adapt for restarts. It converts requests to the format that
// this generation expects.
func (g generation) restart(call *gate.Call) error {
	if g == generation2025 {
		call.Query, call.Body = restartByBody(call.Query, call.Body)
	} else {
		call.Query, call.Body = restartByQuery(call.Query, call.Body)
	}
	return nil
}

// restartTargets returns the targets of a restart that has been converted to this generation's
// format. Since the names are in the query, a restart can change the configuration.
func (g generation) restartTargets() targets {
	if g == generation2025 {
		return fromBody(instance(bodyInstance), unikernel(bodyUnikernel)).
			and(fromQuery(absent(queryInstance), absent(queryUnikernel)))
	}
	return fromQuery(instance(queryInstance), unikernel(queryUnikernel)).
		and(fromBody(absent(bodyInstance), absent(bodyUnikernel), optionalObjectIn("arguments", devices)))
}
