package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// page is the page whose blocks these tests run.
const page = "../../docs/cluster.md"

// leftOut lists the blocks that these tests don't run, keyed by a line of the block, with the
// reasons.
var leftOut = map[string]string{
	"go run -C etcdstore/integration ./cmd/example": "TestExample in cmd/example runs it",
}

// blocks returns the page's blocks in a language.
func blocks(t *testing.T, language string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	check(t, err)
	for _, block := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(
		string(text), -1) {
		found = append(found, strings.ReplaceAll("\n"+block[2], "\n"+block[1], "\n")[1:])
	}
	return found
}

// block returns the page's block that contains some text.
func block(t *testing.T, language, part string) string {
	t.Helper()
	for _, b := range blocks(t, language) {
		if strings.Contains(b, part) {
			return b
		}
	}
	t.Fatalf("%s has no %s block with %q", page, language, part)
	return ""
}

// TestClusterPage checks that each block of commands on the page has a command that a test runs, or
// one for which leftOut says why none does.
func TestClusterPage(t *testing.T) {
	t.Parallel()
	run := []string{"etcd --name", "etcdctl role add", "etcdctl auth enable", "openssl rand", "etcdctl alarm disarm",
		"caddy api-token"}
	for _, b := range blocks(t, "sh") {
		covered := 0
		for _, part := range run {
			covered += strings.Count(b, part)
		}
		for part := range leftOut {
			covered += strings.Count(b, part)
		}
		if covered == 0 {
			t.Errorf("no test runs this block:\n%s", b)
		}
	}
	for part := range leftOut {
		block(t, "sh", part)
	}
}

// buildProgram compiles a program.
func buildProgram(t *testing.T, module, pkg string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", module, "-o", path, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return path
}

// script is a shell with some programs and replacements.
type script struct {
	dir     string
	env     []string
	replace []string
}

func newScript(t *testing.T, programs map[string]string) *script {
	t.Helper()
	s := &script{dir: t.TempDir()}
	check(t, os.MkdirAll(filepath.Join(s.dir, "bin"), 0o700))
	check(t, os.MkdirAll(filepath.Join(s.dir, "etc/caddy"), 0o700))
	for name, path := range programs {
		check(t, os.Symlink(path, filepath.Join(s.dir, "bin", name)))
	}
	s.env = append(os.Environ(), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"))
	s.replace = []string{"/etc/caddy/", filepath.Join(s.dir, "etc/caddy") + "/", " -o root -g caddy", ""}
	return s
}

// run runs commands. All replaced texts but the first two must be in them.
func (s *script) run(t *testing.T, commands string, replace ...string) string {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(commands, replace[i]) {
			t.Errorf("%q isn't in\n%s", replace[i], commands)
		}
	}
	commands = strings.NewReplacer(append(replace, s.replace...)...).Replace(commands)
	command := exec.CommandContext(t.Context(), "bash", "-c", "set -euo pipefail\n"+commands)
	command.Dir, command.Env = s.dir, s.env
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\nof\n%s", err, out, commands)
	}
	return string(out)
}

// TestEtcdctlCommands creates the user and makes space, as the page describes, with the real
// etcdctl.
func TestEtcdctlCommands(t *testing.T) {
	t.Parallel()
	etcdctl := buildProgram(t, ".", "go.etcd.io/etcd/etcdctl/v3")
	etcd := etcdtest.Start(t, 1, etcdtest.Quota(32<<20))
	s := newScript(t, map[string]string{"etcdctl": etcdctl})
	s.env = append(s.env, "ETCDCTL_ENDPOINTS="+strings.Join(etcd.Endpoints(), ","))
	check(t, os.WriteFile(filepath.Join(s.dir, "pasted"), []byte(password+"\n"), 0o600))
	s.run(t, block(t, "sh", "etcdctl role add"), "/dev/stdin", "pasted")
	s.run(t, block(t, "sh", "etcdctl auth enable"), "etcdctl user add root",
		"echo secret | etcdctl user add root --interactive=false")
	as := func(prefix string) *etcdstore.Engine {
		return newEngine(t, etcd, func(config *etcdstore.Config) {
			config.Username, config.Password, config.Prefix = "mollygate", password, prefix
		})
	}
	useEverything(t, as(etcdstore.DefaultPrefix))
	if _, err := as("/other/").Read(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "denies user") {
		t.Errorf("another prefix: %v", err)
	}

	root, err := clientv3.New(clientv3.Config{Endpoints: etcd.Endpoints(), Username: "root", Password: "secret"})
	check(t, err)
	defer func() { _ = root.Close() }()
	engine := as(etcdstore.DefaultPrefix)
	big := bytes.Repeat([]byte{1}, 1<<20)
	for range 100 {
		if _, err = root.Put(t.Context(), "big", string(big)); err != nil {
			break
		}
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("filling etcd: %v", err)
	}
	write := []cluster.Write{{Key: "after", Value: []byte("1")}}
	if _, err = engine.Commit(t.Context(), nil, write); err == nil || !strings.Contains(err.Error(), "NOSPACE") {
		t.Errorf("a change without space: %v", err)
	}
	s.env = append(s.env, "ETCDCTL_USER=root:secret")
	s.run(t, block(t, "sh", "etcdctl alarm disarm"))
	if _, err = engine.Commit(t.Context(), nil, write); err != nil {
		t.Errorf("a change after making space: %v", err)
	}
}

// TestEtcdOptions starts an etcd member with the page's command, with other addresses.
func TestEtcdOptions(t *testing.T) {
	t.Parallel()
	certificates := etcdtest.NewCertificates(t, "etcd-1.example.com", "gate")
	s := newScript(t, map[string]string{"etcd": buildProgram(t, ".", "go.etcd.io/etcd/server/v3")})
	client, peer := freeAddress(t), freeAddress(t)
	commands := block(t, "sh", "etcd --name")
	commands = regexp.MustCompile(`,etcd-2=\S*`).ReplaceAllString(commands, "") // one member is enough
	commands = strings.NewReplacer("/var/lib/etcd", t.TempDir(), "10.0.0.1:2379", client, "10.0.0.1:2380", peer,
		"etcd-1.example.com:2379", client, "etcd-1.example.com:2380", peer,
		"/etc/etcd/server.crt", certificates.ServerCert, "/etc/etcd/server.key", certificates.ServerKey,
		"/etc/etcd/ca.crt", certificates.CA).Replace(commands)
	command := exec.CommandContext(t.Context(), "bash", "-c", "exec "+commands)
	command.Env = s.env
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	check(t, command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	began := time.Now()
	for {
		conn, err := net.Dial("tcp", client)
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-ended:
			t.Fatalf("etcd ended: %v\n%s", command.ProcessState, &log)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			t.Fatal("etcd doesn't listen")
		}
	}
}

// freeAddress returns a loopback address with a port that is free at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// TestClusterCaddyfiles validates the page's Caddyfiles, and the etcd store in
// Caddyfile.example, with a Caddy that has the etcd store. The record key is created as the page
// describes.
func TestClusterCaddyfiles(t *testing.T) {
	t.Parallel()
	caddy := buildProgram(t, "..", "./cmd/mollygate")
	s := newScript(t, map[string]string{"caddy": caddy})
	s.env = append(s.env, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "MOLLYMAWK_TOKEN=secret")
	s.run(t, block(t, "sh", "openssl rand"))
	certificates := etcdtest.NewCertificates(t, "etcd.example.com", "gate")
	for name, path := range map[string]string{"etcd-ca.crt": certificates.CA,
		"etcd-client.crt": certificates.ClientCert, "etcd-client.key": certificates.ClientKey} {
		check(t, os.Symlink(path, filepath.Join(s.dir, "etc/caddy", name)))
	}
	for _, name := range []string{"etcd.password", "mollymawk.token"} {
		check(t, os.WriteFile(filepath.Join(s.dir, "etc/caddy", name), []byte("secret\n"), 0o600))
	}
	validate := func(caddyfile string) string {
		t.Helper()
		caddyfile = strings.NewReplacer("/var/lib/caddy/", s.dir+"/", "unix//run/caddy/", "unix/"+s.dir+"/",
			"/etc/caddy/", s.dir+"/etc/caddy/").Replace(caddyfile)
		check(t, os.WriteFile(filepath.Join(s.dir, "Caddyfile"), []byte(caddyfile), 0o600))
		out := s.run(t, "caddy adapt --config Caddyfile && "+
			"caddy validate --config Caddyfile >log 2>&1 || { cat log; exit 1; }")
		return out
	}
	for _, b := range blocks(t, "caddyfile") {
		if strings.Contains(b, "bearer_auth") && !strings.Contains(b, "api_tokens {") {
			b = "{\n\tapi_tokens\n}\n" + b
		}
		validate(b)
	}

	example, err := os.ReadFile("../../Caddyfile.example")
	check(t, err)
	commented := regexp.MustCompile(`(?ms)^\t\t# store etcd \{\n.*?^\t\t# \}\n`)
	text := commented.ReplaceAllStringFunc(string(example), func(comment string) string {
		return regexp.MustCompile(`(?m)^\t\t# `).ReplaceAllString(comment, "\t\t")
	})
	out := validate(strings.ReplaceAll(text, "/run/secrets/", "/etc/caddy/"))
	var adapted struct {
		Apps struct {
			Tokens struct {
				Store map[string]any `json:"store"`
			} `json:"api_tokens"`
		} `json:"apps"`
	}
	out = out[strings.Index(out, "{"):]
	err = json.NewDecoder(strings.NewReader(out)).Decode(&adapted)
	if err != nil || adapted.Apps.Tokens.Store["module"] != "etcd" {
		t.Errorf("%v: the example's store is %v", err, adapted.Apps.Tokens.Store)
	}
}

// TestClusterOptions checks that the page and Caddyfile.example have all options of the store,
// and that the page lists no others.
func TestClusterOptions(t *testing.T) {
	t.Parallel()
	var options []string
	for _, file := range []string{"../store.go", "../storetls.go"} {
		source, err := os.ReadFile(file)
		check(t, err)
		field := regexp.MustCompile("`json:\"([a-z_]+),omitempty\"`")
		for _, name := range field.FindAllStringSubmatch(string(source), -1) {
			options = append(options, name[1])
		}
	}
	if len(options) < 13 {
		t.Fatalf("found only %q", options)
	}
	text, err := os.ReadFile(page)
	check(t, err)
	example, err := os.ReadFile("../../Caddyfile.example")
	check(t, err)
	_, reference, _ := strings.Cut(string(text), "## Configure")
	reference, _, _ = strings.Cut(reference, "### max_staleness")
	listed := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `.*$").FindAllString(reference, -1) {
		first, _, _ := strings.Cut(row[2:], " |")
		for _, name := range regexp.MustCompile("`([a-z_]+) [^`]*`").FindAllStringSubmatch(first, -1) {
			listed[name[1]] = true
		}
	}
	for _, option := range options {
		if !listed[option] {
			t.Errorf("the page has no table row for the option %s", option)
		}
		delete(listed, option)
		if !regexp.MustCompile(`(?m)^\t+` + option + `\b`).MatchString(block(t, "caddyfile", "store etcd {")) {
			t.Errorf("the page has no example of the option %s", option)
		}
		if !regexp.MustCompile(`(?m)^\t+#\s+` + option + `\b`).Match(example) {
			t.Errorf("Caddyfile.example lacks the option %s", option)
		}
	}
	if len(listed) > 0 {
		t.Errorf("the page lists options that don't exist: %v", listed)
	}
}

// machine has stand-ins for programs that a machine with systemd has. The stand-in for the editor
// writes the Caddyfile that the test has prepared.
var machine = map[string]string{
	"systemctl": `#!/bin/sh
set -e
case $1 in
start) caddy start --config etc/caddy/Caddyfile --pidfile pid >>log 2>&1 ;;
stop)
	pid=$(cat pid)
	caddy stop >>log 2>&1
	for _ in $(seq 400); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.05; done
	exit 1 ;;
*) exit 2 ;;
esac
`,
	"editor": "#!/bin/sh\nmv next \"$1\"\n",
}

// TestClusterMoves moves a gate's tokens into etcd and out again, and runs the runbook's other
// commands.
func TestClusterMoves(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	s := newScript(t, map[string]string{"caddy": buildProgram(t, "..", "./cmd/mollygate")})
	for name, text := range machine {
		check(t, os.WriteFile(filepath.Join(s.dir, "bin", name), []byte(text), 0o700))
	}
	home := filepath.Join(s.dir, "var/lib/caddy")
	s.env = append(s.env, "XDG_DATA_HOME="+home+"/.local/share", "XDG_CONFIG_HOME="+home, "CADDY_ADMIN="+freeAddress(t))
	s.replace = append(s.replace, "/var/lib/caddy/", home+"/")
	configure := func(name, store string) {
		t.Helper()
		text := "{\n\tapi_tokens {\n\t\t" + store + "\n\t\taccount default\n\t}\n}\nhttp://" + freeAddress(t) +
			" {\n\tbearer_auth {\n\t\troutes mollymawk\n\t}\n}\n"
		check(t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	configure("etc/caddy/Caddyfile", "store bbolt")
	id := strings.TrimSpace(s.run(t, "systemctl start\n"+
		"caddy api-token create --name moved --preset read --expires-in 90d >>log 2>&1\n"+
		"caddy api-token list --output id"))
	t.Cleanup(func() {
		command := exec.Command("bash", "-c", "caddy stop")
		command.Dir, command.Env = s.dir, s.env
		_ = command.Run() // fails if the test has failed before
	})

	configure("next", "store etcd {\n\t\t\tendpoints "+etcd.Endpoints()[0]+"\n\t\t}")
	out := s.run(t, block(t, "sh", "store bbolt with store etcd"))
	if !strings.Contains(out, "Restored 1 keys") || !strings.Contains(out, id) {
		t.Errorf("moving in:\n%s", out)
	}
	if out := s.run(t, block(t, "sh", "caddy api-token nodes")); !strings.Contains(out, "(this gate)") {
		t.Errorf("nodes:\n%s", out)
	}
	out = s.run(t, block(t, "sh", "--yes --wait"), "4fQ9Zt2LkVb7", id)
	if !strings.Contains(out, "has confirmed it") {
		t.Errorf("revoke:\n%s", out)
	}
	out = s.run(t, block(t, "sh", "cluster accept"), "cluster accept", "cluster accept --yes")
	if !strings.Contains(out, "Accepted the shared key store") {
		t.Errorf("accept:\n%s", out)
	}

	configure("next", "store bbolt")
	s.run(t, block(t, "sh", "remove store etcd"))
	if out := s.run(t, "caddy api-token list"); !strings.Contains(out, id) || !strings.Contains(out, "revoked") {
		t.Errorf("moving out:\n%s", out)
	}
}
