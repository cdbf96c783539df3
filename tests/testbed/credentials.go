package testbed

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"

	"k8s.io/client-go/util/cert"
)

// credentials are the keys, certificates and tokens of the API server.
type credentials struct {
	admin       User
	certificate []byte // PEM: the server's certificate, followed by its CA's

	certificateFile, keyFile string
	signingKeyFile           string // signs service account tokens
	tokenFile                string
}

func newCredentials(dir string) (*credentials, error) {
	c := &credentials{
		admin:           User{Name: "admin", Token: rand.Text()},
		certificateFile: filepath.Join(dir, "apiserver.crt"),
		keyFile:         filepath.Join(dir, "apiserver.key"),
		signingKeyFile:  filepath.Join(dir, "service-accounts.key"),
		tokenFile:       filepath.Join(dir, "tokens.csv"),
	}
	if err := c.newCertificate(); err != nil {
		return nil, err
	}
	signingKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("cannot generate a key: %w", err)
	}
	for path, content := range map[string][]byte{
		c.signingKeyFile: pem.EncodeToMemory(&pem.Block{
			Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signingKey),
		}),
		c.tokenFile: fmt.Appendf(nil, "%s,%s,%s,system:masters\n", c.admin.Token, c.admin.Name, c.admin.Name),
	} {
		if err := writeSecret(path, content); err != nil {
			return nil, fmt.Errorf("cannot write credentials: %w", err)
		}
	}
	return c, nil
}

// newCertificate generates the certificate and the key of the API server, and writes them.
func (c *credentials) newCertificate() error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, []string{"localhost"})
	if err != nil {
		return fmt.Errorf("cannot generate a certificate: %w", err)
	}
	c.certificate = certificate
	if err := writeSecret(c.certificateFile, certificate); err != nil {
		return fmt.Errorf("cannot write the certificate: %w", err)
	}
	if err := writeSecret(c.keyFile, key); err != nil {
		return fmt.Errorf("cannot write the certificate's key: %w", err)
	}
	return nil
}
