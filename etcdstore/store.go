package etcdstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/gate"
)

func init() {
	caddy.RegisterModule(new(Store))
}

// Store stores tokens in etcd, so that several gates share them. Each gate reads from a replica,
// a local file that follows etcd.
//
// Placeholders such as `{env.NAME}` are replaced in all options that are strings.
type Store struct {
	// The URLs of the etcd members, such as `https://etcd-1.example.com:2379`. All must have the
	// same scheme, `https` or `http`.
	Endpoints []string `json:"endpoints,omitempty"`
	// The prefix of all keys that are used in etcd. A slash is appended if it doesn't end with
	// one. Gates with different prefixes have different tokens. Default: `/mollygate/`.
	Prefix string `json:"prefix,omitempty"`
	// The name of the etcd user, which needs permission to read and write keys with the prefix.
	Username string `json:"username,omitempty"`
	// The password of the etcd user. Use a placeholder, such as `{env.ETCD_PASSWORD}` or
	// `{file./run/secrets/etcd}`, to keep it out of the configuration.
	Password string `json:"password,omitempty"`
	// How to check the members' certificates, and the client certificate. Default: the system's
	// root certificates, and no client certificate.
	TLS *TLS `json:"tls,omitempty"`
	// The maximum time for a request to etcd, including retries. Default: `5s`.
	RequestTimeout caddy.Duration `json:"request_timeout,omitempty"`
	// How long the gate may serve requests from the replica without contact to etcd. A token that
	// is revoked meanwhile remains valid at this gate for that long. At least `5s`. -1 means no
	// limit. Default: `1h`.
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`
	// The replica's file. It is created if it doesn't exist. Default: `mollygate/replica.db` in
	// Caddy's data directory.
	Replica string `json:"replica,omitempty"`
	// A secret of at least 32 bytes that all gates share. Each record in etcd is authenticated
	// with it, so that access to etcd isn't enough to create tokens. Use a placeholder, such as
	// `{file./run/secrets/record-key}`.
	RecordKey string `json:"record_key,omitempty"`

	// These are resolved.
	config    Config // without TLS
	tls       *TLS
	staleness time.Duration // 0 is no limit
	replica   string
	recordKey []byte
	logger    *zap.Logger
}

const (
	defaultStaleness = time.Hour
	// minStaleness leaves time for failed attempts, because gates look for changes every second.
	minStaleness      = 5 * time.Second
	minRequestTimeout = 100 * time.Millisecond
	maxRequestTimeout = time.Minute
	minRecordKey      = 32 // bytes
	// off is the value of MaxStaleness for no limit.
	off = -1
)

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "api_tokens.stores.etcd",
		New: func() caddy.Module { return new(Store) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Store) UnmarshalJSON(data []byte) error { return caddymodule.UnmarshalOptions(data, s) }

// Provision resolves placeholders and checks all options.
func (s *Store) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	if err := s.resolve(); err != nil {
		return fmt.Errorf("etcd store: %w", err)
	}
	if strings.HasPrefix(s.config.Endpoints[0], "http:") {
		s.logger.Warn("the connection to etcd is not encrypted; write https:// endpoints",
			zap.Strings("endpoints", s.config.Endpoints))
	}
	s.warnIfOpen()
	caddymodule.WarnAboutPermissions(s.logger, s.replica)
	return nil
}

func (s *Store) resolve() error {
	s.config = Config{RequestTimeout: time.Duration(s.RequestTimeout), Logger: s.logger}
	for _, endpoint := range s.Endpoints {
		resolved, err := replace("endpoints", endpoint)
		if err != nil {
			return err
		}
		s.config.Endpoints = append(s.config.Endpoints, normalizeEndpoint(resolved))
	}
	if err := s.resolveLogin(); err != nil {
		return err
	}
	var err error
	if s.config.Prefix, err = replace("prefix", s.Prefix); err != nil {
		return err
	}
	s.config.Prefix = normalizePrefix(s.config.Prefix)
	if err := s.config.check(); err != nil {
		return err
	}
	if err := checkRequestTimeout(s.config.RequestTimeout); err != nil {
		return err
	}
	if s.tls, err = s.TLS.resolve(); err != nil {
		return err
	}
	if s.tls != nil && strings.HasPrefix(s.config.Endpoints[0], "http:") {
		return errTLSWithoutHTTPS
	}
	if s.staleness, err = staleness(s.MaxStaleness); err != nil {
		return err
	}
	s.replica, err = caddymodule.ResolvePath("replica path", s.Replica, DefaultReplicaPath())
	return err
}

// resolveLogin resolves all secrets.
func (s *Store) resolveLogin() error {
	var err error
	if s.config.Username, err = replace("username", s.Username); err != nil {
		return err
	}
	if s.config.Password, err = caddymodule.ResolveSecret(s.Password); err != nil {
		return fmt.Errorf("password: %w", err)
	}
	key, err := caddymodule.ResolveSecret(s.RecordKey)
	if err != nil {
		return fmt.Errorf("record_key: %w", err)
	}
	if key != "" && len(key) < minRecordKey {
		return errShortRecordKey
	}
	if key != "" {
		s.recordKey = []byte(key)
	}
	return nil
}

var (
	errTLSWithoutHTTPS = errors.New("tls has no effect with http:// endpoints; write https:// endpoints, or remove tls")
	errShortRecordKey  = fmt.Errorf("record_key must have at least %d bytes; make one with: openssl rand -hex 32",
		minRecordKey)
)

// replace replaces the placeholders in an option's value.
func replace(option, value string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("a placeholder in %s has no value; "+
			"write {env.NAME} with a variable that is set, or write the value itself", option)
	}
	return resolved, nil
}

// normalizePrefix appends a slash, without which keys of another prefix could start with the
// prefix.
func normalizePrefix(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return prefix + "/"
}

// normalizeEndpoint returns an endpoint in lower case and without a trailing slash. Invalid
// endpoints are returned unchanged.
func normalizeEndpoint(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Path != "/" && u.Path != "" {
		return endpoint
	}
	u.Path, u.Host = "", strings.ToLower(u.Host)
	return u.String()
}

// staleness returns the value of max_staleness, or 0 for no limit.
func staleness(option caddy.Duration) (time.Duration, error) {
	switch {
	case option == 0:
		return defaultStaleness, nil
	case option == off:
		return 0, nil
	case time.Duration(option) < minStaleness:
		return 0, fmt.Errorf("max_staleness must be at least %v; write off, or -1 in JSON, for no limit", minStaleness)
	}
	return time.Duration(option), nil
}

func checkRequestTimeout(timeout time.Duration) error {
	if timeout < minRequestTimeout || timeout > maxRequestTimeout {
		return fmt.Errorf("request_timeout must be between %v and %v", minRequestTimeout, maxRequestTimeout)
	}
	return nil
}

// Key implements caddymodule.StoreModule.
func (s *Store) Key() string {
	endpoints := slices.Sorted(slices.Values(s.config.Endpoints))
	return "etcd:" + strings.Join(endpoints, ",") + " " + s.config.Prefix + " " + s.replica
}

// DefaultReplicaPath returns the default path of the replica.
func DefaultReplicaPath() string { return filepath.Join(caddy.AppDataDir(), "mollygate", "replica.db") }

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	etcd {
//		endpoints       <url...>
//		prefix          <prefix>
//		username        <name>
//		password        <password>
//		tls {
//			ca          <file>
//			cert        <file>
//			key         <file>
//			server_name <name>
//		}
//		request_timeout <duration>
//		max_staleness   <duration>|off
//		replica         <path>
//		record_key      <secret>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		return d.Errf("the etcd store takes a block with options, not an argument such as %s",
			gate.ConfigWord(d.Val()))
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is specified twice", option)
		}
		seen[option] = true
		if err := s.parseOption(d, option); err != nil {
			return err
		}
	}
	if len(s.Endpoints) == 0 {
		return d.Err("the etcd store needs endpoints, for example: endpoints https://etcd-1.example.com:2379")
	}
	if seen["username"] != seen["password"] {
		return d.Err("username and password must be set together")
	}
	if s.TLS != nil && strings.HasPrefix(s.Endpoints[0], "http:") {
		return d.WrapErr(errTLSWithoutHTTPS)
	}
	return nil
}

func (s *Store) parseOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "endpoints":
		s.Endpoints = d.RemainingArgs()
		if len(s.Endpoints) == 0 || !slices.ContainsFunc(s.Endpoints, hasPlaceholder) {
			if _, err := checkEndpoints(s.Endpoints); err != nil {
				return d.Errf("endpoints: %v", err)
			}
		}
	case "prefix":
		if err := oneWord(d, option, &s.Prefix); err != nil {
			return err
		}
		if !hasPlaceholder(s.Prefix) {
			if err := checkPrefix(normalizePrefix(s.Prefix)); err != nil {
				return d.WrapErr(err)
			}
		}
	case "username":
		return oneWord(d, option, &s.Username)
	case "password":
		return oneWord(d, option, &s.Password)
	case "tls":
		s.TLS = new(TLS)
		return s.TLS.unmarshalCaddyfile(d)
	case "request_timeout":
		if err := parseDuration(d, option, &s.RequestTimeout, "write a duration such as 5s", false); err != nil {
			return err
		}
		if err := checkRequestTimeout(time.Duration(s.RequestTimeout)); err != nil {
			return d.WrapErr(err)
		}
	case "max_staleness":
		if err := parseDuration(d, option, &s.MaxStaleness, "write a duration such as 1h, or off", true); err != nil {
			return err
		}
		if _, err := staleness(s.MaxStaleness); err != nil {
			return d.WrapErr(err)
		}
	case "replica":
		return oneWord(d, option, &s.Replica)
	case "record_key":
		if err := oneWord(d, option, &s.RecordKey); err != nil {
			return err
		}
		if !hasPlaceholder(s.RecordKey) && len(s.RecordKey) < minRecordKey {
			return d.WrapErr(errShortRecordKey)
		}
	default:
		return d.Errf("unknown option %s; the options of the etcd store are endpoints, max_staleness, password, "+
			"prefix, record_key, replica, request_timeout, tls and username", gate.ConfigWord(option))
	}
	return nil
}

func hasPlaceholder(value string) bool { return strings.Contains(value, "{") }

// oneWord reads an option's only value. Unlike Caddy's own errors, its errors don't quote
// values.
func oneWord(d *caddyfile.Dispenser, option string, value *string) error {
	if !d.AllArgs(value) || *value == "" {
		return d.Errf("%s: must have exactly one value", option)
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s: takes no block", option)
	}
	return nil
}

// parseDuration reads an option's only value, a positive duration. If mayBeOff is set, the value can
// also be the word off, which stands for -1.
func parseDuration(d *caddyfile.Dispenser, option string, value *caddy.Duration, fix string, mayBeOff bool) error {
	var text string
	if err := oneWord(d, option, &text); err != nil {
		return err
	}
	if mayBeOff && text == "off" {
		*value = off
		return nil
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return d.Errf("%s %s: %s", option, gate.ConfigWord(text), fix)
	}
	*value = caddy.Duration(duration)
	return nil
}

// Interface guards.
var (
	_ caddy.Module            = (*Store)(nil)
	_ caddy.Provisioner       = (*Store)(nil)
	_ caddyfile.Unmarshaler   = (*Store)(nil)
	_ json.Unmarshaler        = (*Store)(nil)
	_ caddymodule.StoreModule = (*Store)(nil)
)
