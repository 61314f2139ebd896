package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// files are the paths of what the parts know each other by, and the token of the one user.
type files struct {
	ca, certificate, key string
	// The API server's client certificate, which a kubelet checks.
	clientCertificate, clientKey string
	serviceAccountKey            string
	tokens, kubeconfig           string
	token                        string
}

// writeFiles makes an authority, the API server's certificate, the key that signs ServiceAccount tokens, and an admin.
func writeFiles(dir string) (files, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	files := files{
		ca: in("ca.crt"), certificate: in("apiserver.crt"), key: in("apiserver.key"),
		clientCertificate: in("client.crt"), clientKey: in("client.key"),
		serviceAccountKey: in("service-account.key"),
		tokens:            in("tokens.csv"), kubeconfig: in("kubeconfig"),
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return files, err
	}
	files.token = hex.EncodeToString(random)
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", files.token)
	if err := os.WriteFile(files.tokens, []byte(tokens), 0o600); err != nil {
		return files, err
	}
	if _, err := writeKey(files.serviceAccountKey); err != nil {
		return files, err
	}
	return files, writeCertificates(files)
}

func writeCertificates(files files) error {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test cluster"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if err := writeCertificate(files.ca, authority, authority, authorityKey.Public(), authorityKey); err != nil {
		return err
	}
	key, err := writeKey(files.key)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses:  []net.IP{net.ParseIP(loopback), net.ParseIP(nodeAddress), net.ParseIP(firstService)},
	}
	if err := writeCertificate(files.certificate, server, authority, key.Public(), authorityKey); err != nil {
		return err
	}
	clientKey, err := writeKey(files.clientKey)
	if err != nil {
		return err
	}
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3),
		Subject:      pkix.Name{CommonName: "kube-apiserver-kubelet-client"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return writeCertificate(files.clientCertificate, client, authority, clientKey.Public(), authorityKey)
}

func writeCertificate(path string, template, issuer *x509.Certificate, key crypto.PublicKey, issuerKey crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, issuerKey)
	if err != nil {
		return err
	}
	return writePEM(path, "CERTIFICATE", der)
}

func writeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// The form in which the API server finds the public key as well.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
