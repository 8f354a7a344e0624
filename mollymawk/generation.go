package mollymawk

import (
	"strings"

	"github.com/mollygate/mollygate/gate"
)

// renameBlock gives a block route the path that the generation has, and the other
// generation's as an alias.
func (g Generation) renameBlock(route *gate.Route) {
	action, ok := strings.CutPrefix(route.Path, "/api/block/")
	if !ok {
		return
	}
	route.Aliases = []string{"/api/volume/" + action}
	if g == Generation2025 {
		route.Path, route.Aliases[0] = route.Aliases[0], route.Path
	}
}

// restart returns how a restart is spelled for the generation.
func (g Generation) restart() func(query string, body []byte) (string, []byte) {
	if g == Generation2025 {
		return restartByBody
	}
	return restartByQuery
}
