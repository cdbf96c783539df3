package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
)

// certificate creates a self-signed certificate and its key, both in PEM format.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// writeFile writes a file and returns its path.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kubeconfigOf writes a kubeconfig file with the given cluster and user, and returns its path.
func kubeconfigOf(t *testing.T, cluster, user string) string {
	t.Helper()
	return writeFile(t, "config", fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {%s}}]
users: [{name: u, user: {%s}}]
contexts: [{name: good, context: {cluster: c, user: u}}]
current-context: good
`, cluster, user))
}

// TestKubeconfigMistakes uses kubeconfig files that can be read, but with which no request
// can be made, or none as the user that they specify. The message names the variable, the
// file and the mistake.
func TestKubeconfigMistakes(t *testing.T) {
	const server = "server: 'https://127.0.0.1:1'"
	cert, key := certificate(t)
	_, anotherKey := certificate(t)
	file := func(content []byte) string { return "'" + writeFile(t, "file.pem", content) + "'" }
	data := base64.StdEncoding.EncodeToString
	garbage := []byte("garbage")
	for _, tt := range []struct{ name, cluster, user, want string }{
		{"server", "server: ':::'", "", "invalid port"},
		{"authority", server + ", certificate-authority: " + file(garbage), "", "root certificates"},
		{"authority in the file", server + ", certificate-authority-data: " + data(garbage), "", "root certificates"},
		{"authority, and none", server + ", insecure-skip-tls-verify: true, certificate-authority-data: " + data(cert), "", "insecure"},
		{"auth-provider", server, "auth-provider: {name: gcp}", `"gcp"`},
		{"key", server, "client-certificate: " + file(cert) + ", client-key: " + file(garbage), "client certificate and key: "},
		{"certificate", server, "client-certificate: " + file(garbage) + ", client-key: " + file(key), "client certificate and key: "},
		{"both in the file", server, "client-certificate-data: " + data(garbage) + ", client-key-data: " + data(garbage), "client certificate and key: "},
		{"key of another certificate", server, "client-certificate: " + file(cert) + ", client-key: " + file(anotherKey), "does not match"},
		{"certificate without key", server, "client-certificate-data: " + data(cert), "client-key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := kubeconfigOf(t, tt.cluster, tt.user)
			err := run(t.Context(), []string{"scrape"}, []string{"POD_LABEL_SELECTOR=a", "SCRAPE_TIMEOUT=100ms", "KUBECONFIG=" + path}, io.Discard, io.Discard)
			if bad := (usageError{}); !errors.As(err, &bad) {
				t.Fatalf("got error %v, want a usageError", err)
			}
			for _, want := range []string{fmt.Sprintf("KUBECONFIG is %q", path), tt.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %q, want it to contain %q", err, want)
				}
			}
		})
	}
}

// TestKubeconfigs uses valid kubeconfig files.
func TestKubeconfigs(t *testing.T) {
	cert, key := certificate(t)
	certFile, keyFile := writeFile(t, "cert.pem", cert), writeFile(t, "key.pem", key)
	for name, user := range map[string]string{
		"nobody":   "",
		"token":    "token: secret",
		"files":    fmt.Sprintf("client-certificate: %q, client-key: %q", certFile, keyFile),
		"data":     fmt.Sprintf("client-certificate-data: %s, client-key-data: %s", base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)),
		"a helper": "exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such/helper, interactiveMode: Never}",
	} {
		path := kubeconfigOf(t, "server: 'https://127.0.0.1:1', certificate-authority: '"+certFile+"'", user)
		if _, err := kubeapi.Load(kubeapi.Options{Kubeconfig: path}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
