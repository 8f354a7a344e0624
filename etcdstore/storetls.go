package etcdstore

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/gate"
)

// TLS configures the connection to https endpoints.
type TLS struct {
	// A PEM file with the certificates of the authorities that issue the members' certificates.
	// It is read when the store is opened. Default: the system's root certificates.
	CA string `json:"ca,omitempty"`
	// A PEM file with the client certificate. It is read again for each connection.
	Cert string `json:"cert,omitempty"`
	// A PEM file with the client certificate's key.
	Key string `json:"key,omitempty"`
	// The name in the members' certificates. Default: each endpoint's host.
	ServerName string `json:"server_name,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *TLS) UnmarshalJSON(data []byte) error { return caddymodule.UnmarshalOptions(data, t) }

var errCertWithoutKey = errors.New("tls: cert and key must be set together")

// resolve returns the options without placeholders, or nil if there are none.
func (t *TLS) resolve() (*TLS, error) {
	if t == nil {
		return nil, nil
	}
	resolved := new(TLS)
	for _, option := range []struct {
		name, value string
		resolved    *string
	}{
		{"tls ca", t.CA, &resolved.CA},
		{"tls cert", t.Cert, &resolved.Cert},
		{"tls key", t.Key, &resolved.Key},
		{"tls server_name", t.ServerName, &resolved.ServerName},
	} {
		var err error
		if *option.resolved, err = replace(option.name, option.value); err != nil {
			return nil, err
		}
	}
	if (resolved.Cert == "") != (resolved.Key == "") {
		return nil, errCertWithoutKey
	}
	return resolved, nil
}

// config reads all files. It returns nil if there are no options.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fileError("ca", t.CA, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: ca: file %s contains no certificate in PEM format", gate.ConfigWord(t.CA))
		}
	}
	if t.Cert != "" {
		if _, err := t.certificate(); err != nil {
			return nil, err
		}
		// Read the files again for each connection, because they are replaced before they expire.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.certificate()
		}
	}
	return config, nil
}

// certificate reads the client certificate and its key.
func (t *TLS) certificate() (*tls.Certificate, error) {
	cert, err := os.ReadFile(t.Cert)
	if err != nil {
		return nil, fileError("cert", t.Cert, err)
	}
	key, err := os.ReadFile(t.Key)
	if err != nil {
		return nil, fileError("key", t.Key, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls: cert %s and key %s: %w", gate.ConfigWord(t.Cert), gate.ConfigWord(t.Key), err)
	}
	return &pair, nil
}

// fileError returns the error for an option's file that can't be read.
func fileError(option, path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	fix := "correct the path"
	if errors.Is(err, fs.ErrPermission) {
		fix = "give the user that Caddy runs as access to it"
	}
	return fmt.Errorf("tls: %s: file %s can't be read: %w; %s", option, gate.ConfigWord(path), err, fix)
}

// unmarshalCaddyfile reads the block of the option tls.
func (t *TLS) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("tls takes a block with options, not an argument such as %s", gate.ConfigWord(d.Val()))
	}
	values := map[string]*string{"ca": &t.CA, "cert": &t.Cert, "key": &t.Key, "server_name": &t.ServerName}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		value, ok := values[option]
		if !ok {
			return d.Errf("unknown option %s; the options of tls are ca, cert, key and server_name",
				gate.ConfigWord(option))
		}
		if *value != "" {
			return d.Errf("%s is specified twice", option)
		}
		if err := oneWord(d, option, value); err != nil {
			return err
		}
	}
	if *t == (TLS{}) {
		return d.Err("tls has no options; name a ca file or a client certificate, or remove it")
	}
	if (t.Cert == "") != (t.Key == "") {
		return d.WrapErr(errCertWithoutKey)
	}
	return nil
}

// Interface guard.
var _ json.Unmarshaler = (*TLS)(nil)
