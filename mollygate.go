// Package mollygate registers all of Mollygate's Caddy modules. To build a Caddy that
// includes them, run:
//
//	xcaddy build v2.11.9 --with github.com/mollygate/mollygate
package mollygate

import (
	// The modules register themselves.
	_ "github.com/mollygate/mollygate/caddymodule"
	_ "github.com/mollygate/mollygate/caddymodule/command"
	_ "github.com/mollygate/mollygate/mollymawk"
)
