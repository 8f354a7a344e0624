// Command mollygate is Caddy with its standard modules, Mollygate and the etcd store compiled
// in. It accepts the same arguments as caddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mollygate/mollygate"
	_ "github.com/mollygate/mollygate/etcdstore"
)

func main() {
	caddycmd.Main()
}
