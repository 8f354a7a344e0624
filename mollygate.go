// Package mollygate registers all of Mollygate's Caddy modules and does nothing
// else, so that
//
//	xcaddy build v2.11.9 --with github.com/mollygate/mollygate
//
// builds a Caddy with the gate in it.
package mollygate

import (
	// The modules register themselves.
	_ "github.com/mollygate/mollygate/caddymodule"
	_ "github.com/mollygate/mollygate/caddymodule/command"
	_ "github.com/mollygate/mollygate/mollymawk"
)
