//go:build unix

package main

import (
	"fmt"
	"strings"
)

// quote quotes a word for a shell, if necessary.
func quote(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func section(heading string, lines ...string) {
	fmt.Printf("\n%s\n", heading)
	for _, line := range lines {
		fmt.Println("  " + line)
	}
}

// instructions shows what to try.
func (e *example) instructions() {
	const (
		call    = `curl -H "Authorization: Bearer $MOLLYGATE_KEY" `
		program = `"$MOLLYGATE" api-token `
	)
	rule := strings.Repeat("─", 80)
	at := func(i int) string { return " --address " + e.sites[i].address() }
	fmt.Printf("\n%s\nThree gates share their keys through three etcd members.\n", rule)
	var addresses []string
	for i, s := range e.sites {
		addresses = append(addresses, fmt.Sprintf("gate-%d     %s  admin endpoint %s  process %d", i+1,
			s.url(), s.address(), e.gates[i].pid()))
	}
	for i, client := range e.clients {
		addresses = append(addresses, fmt.Sprintf("member-%d   %s  process %d", i+1, client, e.members[i].pid()))
	}
	section("What runs", append([]string{"balancer   " + e.url()}, addresses...)...)
	section("Set these variables in another terminal. The keys are shown only now.",
		"MOLLYGATE="+quote(e.dir+"/"+caddyProgram), "MOLLYGATE_KEY="+e.api.Secret, "ADMIN_KEY="+e.admin.Secret)
	section("Call the stand-in for Mollymawk. The balancer uses the gates in turn.", call+e.url()+"/api/unikernels")
	section("See the gates, and how many requests each has counted. They report after a few seconds.",
		program+"nodes"+at(0), "sleep 10", program+"show "+e.api.ID+at(0))
	section("Use the admin API and the dashboard. Sign in with the admin key.",
		fmt.Sprintf(`curl -H "Authorization: Bearer $ADMIN_KEY" http://localhost:%d/api/v1/healthz`, e.dashboard),
		fmt.Sprintf("open http://localhost:%d/ in a browser", e.dashboard))
	section("Kill an etcd member. Everything still works.", fmt.Sprintf("kill -9 %d", e.members[0].pid()),
		program+"create --name second --preset read --expires-in 90d"+at(1), call+e.url()+"/api/unikernels")
	section("Kill a gate. The balancer uses the other two.", fmt.Sprintf("kill -9 %d", e.gates[2].pid()),
		call+e.url()+"/api/unikernels", call+e.url()+"/api/unikernels", call+e.url()+"/api/unikernels")
	section("Revoke the key at one gate. The others refuse it, too.", program+"revoke "+e.api.ID+" --yes"+at(0),
		call+e.sites[0].url()+"/api/unikernels", call+e.sites[1].url()+"/api/unikernels")
	fmt.Printf("\nA process that has ended starts again after %v. Logs: %s\nPress Ctrl-C to stop everything.\n%s\n",
		e.restart, quote(e.data), rule)
}
