package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// newClientCertificate creates a self-signed client certificate.
func newClientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRemoteAdmin checks that on Caddy's remote admin endpoint, a client certificate grants
// access only to the paths and methods configured for it.
func TestRemoteAdmin(t *testing.T) {
	t.Parallel()
	host, port := outside(t), freePort(t)
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	reader, stranger := newClientCertificate(t), newClientCertificate(t)
	var config map[string]any
	s.decode(string(s.adapted(plainSite)), &config)
	admin := config["admin"].(map[string]any)
	admin["identity"] = map[string]any{"identifiers": []string{"localhost"},
		"issuers": []any{map[string]any{"module": "internal"}}}
	admin["remote"] = map[string]any{"listen": ":" + port, "access_control": []any{map[string]any{
		"public_keys": []string{base64.StdEncoding.EncodeToString(reader.Certificate[0])},
		"permissions": []any{map[string]any{"paths": []string{"/api_tokens/v1/tokens"}, "methods": []string{"GET"}}},
	}}}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := s.load(text); err != nil || status != http.StatusOK {
		t.Fatalf("loading the configuration: got status %d, error %v\n%s", status, err, s.output)
	}
	client := func(certificates ...tls.Certificate) *http.Client {
		return &http.Client{
			Transport: &http.Transport{DisableKeepAlives: true,
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost",
					Certificates: certificates}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	call := func(client *http.Client, method, path string) (int, string, error) {
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+host+":"+port+path,
			strings.NewReader(newToken))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	s.eventually("the remote endpoint has a certificate", func() bool {
		_, _, err := call(client(reader), "GET", "/api_tokens/v1/tokens")
		return err == nil
	})
	before := len(s.counts())
	for _, test := range []struct {
		method, path string
		want         int
		has          string
	}{
		{"GET", "/api_tokens/v1/tokens", 200, tokenID(token)},
		{"GET", "/api_tokens/v1/tokens?limit=1", 200, `"data"`},
		{"GET", "/api_tokens/v1/tokens/" + tokenID(token), 200, tokenID(token)},
		{"POST", "/api_tokens/v1/tokens", 403, ""},
		{"DELETE", "/api_tokens/v1/tokens/" + tokenID(token), 403, ""},
		{"POST", "/api_tokens/v1/tokens/" + tokenID(token) + "/rotate", 403, ""},
		{"GET", "/api_tokens/v1/tokensX", 403, ""},
		{"GET", "/api_tokens/v1/token", 403, ""},
		{"GET", "/api_tokens/v1/accounts", 403, ""},
		{"GET", "/api_tokens/v1/backup", 403, ""},
		{"GET", "/config/", 403, ""},
		{"GET", "//api_tokens/v1/tokens", 307, `"/api_tokens/v1/tokens"`},
		{"GET", "/api_tokens/v1/tokens/../../../config/", 403, ""},
		{"GET", "/api_tokens/v1/tokens/%2e%2e/%2e%2e/%2e%2e/config/", 403, ""},
		{"GET", "/api_tokens/v1/tokens/..%2f..%2f..%2fconfig/", 403, ""},
	} {
		status, body, err := call(client(reader), test.method, test.path)
		if err != nil || status != test.want || !strings.Contains(body, test.has) {
			t.Errorf("%s %s: got status %d, %v, want %d: %s", test.method, test.path, status, err, test.want,
				shortened(body))
		}
	}
	for name, client := range map[string]*http.Client{"no certificate": client(),
		"an unknown certificate": client(stranger)} {
		if status, _, err := call(client, "GET", "/api_tokens/v1/tokens"); err == nil {
			t.Errorf("%s: got status %d", name, status)
		}
	}
	if after := len(s.counts()); after != before {
		t.Errorf("there are %d tokens, want %d", after, before)
	}
	s.expect(token, http.StatusOK)
	s.checkLogs(token)
}
