package etcdstore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/tokenstore"
)

// parse parses a Caddyfile segment.
func parse(text string) (*Store, error) {
	store := new(Store)
	return store, store.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
}

// provision provisions a store with the given JSON configuration.
func provision(t *testing.T, config string) (*Store, error) {
	t.Helper()
	store := new(Store)
	if err := json.Unmarshal([]byte(config), store); err != nil {
		return store, err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return store, store.Provision(ctx)
}

// TestCaddyfile checks that all options are read, and that their JSON has the same effect.
func TestCaddyfile(t *testing.T) {
	t.Setenv("ETCD_TEST_PASSWORD", "correct horse")
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	key := strings.Repeat("k", 32)
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := parse(`etcd {
		endpoints https://B.example:2379/ https://a.example:2379
		prefix /gates
		username gate
		password {env.ETCD_TEST_PASSWORD}
		tls {
			ca ca.pem
			cert cert.pem
			key key.pem
			server_name etcd.example
		}
		request_timeout 3s
		max_staleness 1d
		replica ` + dir + `/r.db
		record_key {file.` + keyFile + `}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(store)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "correct horse") || strings.Contains(string(text), key) {
		t.Errorf("the configuration contains a secret: %s", text)
	}
	got, err := provision(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if got.config.Password != "correct horse" || string(got.recordKey) != key || got.config.Username != "gate" ||
		got.config.RequestTimeout != 3*time.Second || got.staleness != 24*time.Hour ||
		*got.tls != (TLS{"ca.pem", "cert.pem", "key.pem", "etcd.example"}) {
		t.Errorf("got %+v", got)
	}
	canonical, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "etcd:https://a.example:2379,https://b.example:2379 /gates/ " + canonical + "/r.db"
	if got.Key() != want {
		t.Errorf("key: got %s, want %s", got.Key(), want)
	}
}

// TestDefaults checks the options' defaults, and how limits are turned off.
func TestDefaults(t *testing.T) {
	store, err := provision(t, `{"endpoints":["https://a.example:2379"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if store.config.Prefix != "/mollygate/" || store.config.RequestTimeout != 5*time.Second ||
		store.staleness != time.Hour || filepath.Base(store.replica) != "replica.db" || store.tls != nil ||
		len(store.recordKey) != 0 {
		t.Errorf("got %+v", store)
	}
	store, err = parse("etcd {\n endpoints http://a.example:2379\n max_staleness off\n}")
	if err != nil || store.MaxStaleness != -1 {
		t.Fatalf("%+v, %v", store, err)
	}
	store, err = provision(t, `{"endpoints":["http://a.example:2379"],"max_staleness":-1}`)
	if err != nil || store.staleness != 0 {
		t.Errorf("%+v, %v", store, err)
	}
}

// TestWrongCaddyfile checks that mistakes are reported with file, line and fix, without
// quoting anything that may be a secret.
func TestWrongCaddyfile(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2"
	with := func(options string) string { return "etcd {\n endpoints https://a.example:2379\n" + options + "\n}" }
	for _, test := range []struct{ text, want string }{
		{"etcd", "needs endpoints, for example: endpoints https://"},
		{"etcd {\n}", "needs endpoints"},
		{"etcd https://a.example:2379", "takes a block with options, not an argument"},
		{"etcd {\n endpoints\n}", "name at least one endpoint"},
		{"etcd {\n endpoints a:2379\n}", "endpoint 1 must be a URL that begins with https:// or http://"},
		{"etcd {\n endpoints a.example\n}", "endpoint 1 must be a URL"},
		{"etcd {\n endpoints unix:///run/etcd\n}", "endpoint 1 must be a URL"},
		{"etcd {\n endpoints https://a.example\n}", "endpoint 1 has no port; etcd's usual port"},
		{"etcd {\n endpoints https://:2379\n}", "endpoint 1 has no host"},
		{"etcd {\n endpoints https://a:2379 https://b:65536\n}", "port of endpoint 2 must be a number from 1 to"},
		{"etcd {\n endpoints https://a:0\n}", "port of endpoint 1 must be a number from 1 to"},
		{"etcd {\n endpoints https://a:2379 http://b:2379\n}", "the same scheme: write https://"},
		{"etcd {\n endpoints https://a:2379 https://a:2379\n}", "endpoint 2 is specified twice"},
		{"etcd {\n endpoints https://a:2379,https://b:2379\n}", "endpoint 1 must be a URL"},
		{"etcd {\n endpoints https://a:2379/v3\n}", "only a scheme, a host and a port"},
		{"etcd {\n endpoints https://root:" + secret + "@a:2379\n}", "contains a user name; use the options"},
		{with("endpoints https://b.example:2379"), "endpoints is specified twice"},
		{with("prefix"), "prefix: must have exactly one value"},
		{with("prefix gates"), "must begin and end with a slash"},
		{with("prefix /"), "must begin and end with a slash"},
		{with("prefix /gätes/"), "printable ASCII"},
		{with("prefix /" + strings.Repeat("x", 100)), "at most 100 characters"},
		{with("username gate"), "must be set together"},
		{with("password " + secret), "must be set together"},
		{with("password " + secret + " " + secret), "password: must have exactly one value"},
		{with("password"), "password: must have exactly one value"},
		{with("password {\n x\n}"), "password: must have exactly one value"},
		{with("password x {\n x\n}"), "password: takes no block"},
		{with("tls"), "tls has no options"},
		{with("tls ca.pem"), "tls takes a block with options"},
		{with("tls {\n}"), "tls has no options"},
		{with("tls {\n cafile x\n}"), "the options of tls are ca, cert, key and server_name"},
		{with("tls {\n cert x\n}"), "cert and key must be set together"},
		{with("tls {\n ca x\n ca y\n}"), "ca is specified twice"},
		{with("tls {\n ca\n}"), "ca: must have exactly one value"},
		{"etcd {\n endpoints http://a:2379\n tls {\n ca x\n}\n}", "write https:// endpoints, or remove tls"},
		{with("request_timeout soon"), `request_timeout "soon": write a duration such as 5s`},
		{with("request_timeout 0"), "write a duration such as 5s"},
		{with("request_timeout off"), "write a duration such as 5s"},
		{with("request_timeout 1ms"), "must be between 100ms and 1m0s"},
		{with("max_staleness never"), "write a duration such as 1h, or off"},
		{with("max_staleness -1h"), "write a duration such as 1h, or off"},
		{with("max_staleness 1s"), "max_staleness must be at least 5s; write off"},
		{with("replica a b"), "replica: must have exactly one value"},
		{with("record_key hunter2"), "at least 32 bytes; make one with: openssl rand"},
		{with("endpoint https://b:2379"), "the options of the etcd store are endpoints,"},
		{with(secret), "unknown option (not shown"},
	} {
		_, err := parse(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s\n got %v\nwant %s", test.text, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\nthe error contains a secret: %v", test.text, err)
		}
	}
}

// TestWrongJSON checks that mistakes in JSON and in placeholders' values are reported.
func TestWrongJSON(t *testing.T) {
	t.Setenv("ETCD_TEST_SHORT", "hunter2")
	for _, test := range []struct{ config, want string }{
		{`{}`, "name at least one endpoint"},
		{`{"endpoints":"https://a:2379"}`, "endpoints: invalid value; write an array"},
		{`{"endpoints":["https://a:2379"],"passwort":"hunter2"}`, "unknown option"},
		{`{"endpoints":["https://a:2379"],"tls":{"cafile":"x"}}`, "tls: unknown option"},
		{`{"endpoints":["https://a:2379"],"password":"hunter2"}`, "must be set together"},
		{`{"endpoints":["{env.ETCD_UNSET}"]}`, "a placeholder in endpoints has no value"},
		{`{"endpoints":["{env.ETCD_TEST_SHORT}"]}`, "endpoint 1 must be a URL"},
		{`{"endpoints":["https://a:2379"],"username":"x","password":"{env.NONE}"}`,
			"password: the environment variable"},
		{`{"endpoints":["https://a:2379"],"record_key":"{env.ETCD_TEST_SHORT}"}`, "at least 32 bytes"},
		{`{"endpoints":["https://a:2379"],"record_key":"{file./does/not/exist}"}`, "record_key: the file"},
		{`{"endpoints":["https://a:2379"],"prefix":"x"}`, "must begin and end with a slash"},
		{`{"endpoints":["https://a:2379"],"request_timeout":-5}`, "must be between"},
		{`{"endpoints":["https://a:2379"],"max_staleness":-5}`, "must be at least 5s; write off, or -1 in JSON"},
		{`{"endpoints":["https://a:2379"],"max_staleness":"4999ms"}`, "must be at least 5s; write off, or -1 in JSON"},
		{`{"endpoints":["https://a:2379"],"replica":"{env.NONE}"}`, "a placeholder in the replica path"},
		{`{"endpoints":["https://a:2379"],"tls":{"key":"x"}}`, "cert and key must be set together"},
		{`{"endpoints":["http://a:2379"],"tls":{"ca":"x"}}`, "tls has no effect"},
	} {
		_, err := provision(t, test.config)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\n got %v\nwant %s", test.config, err, test.want)
		}
	}
}

// TestInspect checks that Inspect reports certificate files that can't be used.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, options := range map[string]*TLS{
		"":                                     {ServerName: "x"},
		"no such file or directory; correct":   {CA: dir + "/x"},
		"contains no certificate":              {CA: garbage},
		"cert: file":                           {Cert: dir + "/x", Key: garbage},
		"key: file":                            {Cert: garbage, Key: dir + "/x"},
		"failed to find any PEM data in certi": {Cert: garbage, Key: garbage},
	} {
		text, err := json.Marshal(map[string]any{"endpoints": []string{"https://a:2379"}, "tls": options,
			"replica": dir + "/replica.db"})
		if err != nil {
			t.Fatal(err)
		}
		store, err := provision(t, string(text))
		if err != nil {
			t.Fatal(err)
		}
		err = store.Inspect()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %s", options, err, want)
		}
	}
}

// TestOpen checks that the store opens while etcd can't be reached.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	store, err := provision(t, `{"endpoints":["http://127.0.0.1:1"],"replica":"`+dir+`/replica.db"}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Inspect(); err != nil {
		t.Fatal(err)
	}
	backend, err := store.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := backend.(tokenstore.Shared); !ok {
		t.Error("the backend isn't shared")
	}
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
	if err := store.Inspect(); err != nil {
		t.Error(err)
	}
}

// TestChangedOptions checks that a configuration warns about options that an open store doesn't
// take over.
func TestChangedOptions(t *testing.T) {
	dir := t.TempDir()
	core, logs := observer.New(zap.WarnLevel)
	configure := func(options string) *Store {
		t.Helper()
		store, err := provision(t, `{"endpoints":["https://127.0.0.1:1"],"replica":"`+dir+`/replica.db"`+options+`}`)
		if err != nil {
			t.Fatal(err)
		}
		store.logger = zap.New(core)
		store.warnIfOpen()
		return store
	}
	want := func(options ...any) {
		t.Helper()
		var got []any
		for _, entry := range logs.TakeAll() {
			got = append(got, entry.ContextMap()["options"].([]any)...)
		}
		if !slices.Equal(got, options) {
			t.Errorf("got warnings about %v, want %v", got, options)
		}
	}
	const changed = `,"username":"gate","password":"hunter2","request_timeout":"1s","max_staleness":"10s",` +
		`"tls":{"server_name":"x"},"record_key":"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"`
	backend, err := configure("").Open()
	if err != nil {
		t.Fatal(err)
	}
	configure(`,"request_timeout":"5s"`) // the default
	want()
	configure(`,"max_staleness":"10s"`)
	want("max_staleness")
	configure(changed)
	want("max_staleness", "password", "record_key", "request_timeout", "tls", "username")
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
	configure(changed)
	want()
}
