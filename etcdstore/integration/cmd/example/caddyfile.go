//go:build unix

package main

import (
	"fmt"
	"strings"
)

// healthPath is the path of a gate's health, for the balancer.
const healthPath = "/healthz"

// gateCaddyfile returns a gate's configuration.
func gateCaddyfile(s site, etcd []string, backend string) string {
	return fmt.Sprintf(`{
	admin localhost:%[1]d
	auto_https off
	servers {
		trusted_proxies static 127.0.0.0/8
	}
	api_tokens {
		store etcd {
			endpoints %[2]s
		}
		account default {
			upstream_token {env.MOLLYMAWK_TOKEN}
		}
	}
}

# The gate.
http://:%[3]d {
	bind 127.0.0.1
	handle %[6]s {
		rewrite /api_tokens/v1/healthz
		reverse_proxy localhost:%[1]d {
			header_up Host {upstream_hostport}
		}
	}
	handle {
		bearer_auth {
			routes mollymawk
			browser_sessions molly_session
		}
		reverse_proxy %[4]s {
			transport http {
				versions 1.1
				keepalive off
			}
		}
	}
}

# The dashboard.
http://:%[5]d {
	bind 127.0.0.1
	api_tokens_admin
}
`, s.admin, strings.Join(etcd, " "), s.gate, backend, s.dashboard, healthPath)
}

// balancerCaddyfile returns the balancer's configuration.
func balancerCaddyfile(port, dashboard int, sites []site) string {
	upstreams := func(port func(site) int) string {
		var all []string
		for _, s := range sites {
			all = append(all, fmt.Sprintf("127.0.0.1:%d", port(s)))
		}
		return strings.Join(all, " ")
	}
	return fmt.Sprintf(`{
	admin off
	auto_https off
}

http://localhost:%[1]d, http://127.0.0.1:%[1]d {
	reverse_proxy %[2]s {
		lb_policy round_robin
		lb_try_duration 2s
		health_uri %[5]s
		health_interval 1s
		health_timeout 2s
	}
}

http://localhost:%[3]d, http://127.0.0.1:%[3]d {
	reverse_proxy %[4]s {
		lb_policy round_robin
		lb_try_duration 2s
	}
}
`, port, upstreams(func(s site) int { return s.gate }), dashboard, upstreams(func(s site) int { return s.dashboard }),
		healthPath)
}
