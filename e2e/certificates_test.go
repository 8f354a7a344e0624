package e2e

import (
	"crypto/tls"
	"regexp"
)

var httpsSite = regexp.MustCompile(`https://([a-z0-9.-]+):\{\$HTTPS\}`)

// waitForCertificates waits until Caddy's internal CA has issued certificates for all sites in
// a Caddyfile. Caddy issues them in the background during startup.
func (c *caddy) waitForCertificates(caddyfile string) {
	c.t.Helper()
	for _, match := range httpsSite.FindAllStringSubmatch(caddyfile, -1) {
		config := &tls.Config{ServerName: match[1], InsecureSkipVerify: true}
		c.eventually("Caddy has the certificate for "+match[1], func() bool {
			conn, err := tls.Dial("tcp", "127.0.0.1:"+c.env["HTTPS"], config)
			if err != nil {
				return false
			}
			_ = conn.Close()
			return true
		})
	}
}
