package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime of every certificate: a cluster for tests does not live longer.
const lifetime = 30 * 24 * time.Hour

// Names of files below pki/.
const (
	authorityCertificate     = "ca.crt"
	authorityKey             = "ca.key"
	serviceAccountKey        = "service-account.key"
	serviceAccountPublicKey  = "service-account.pub"
	apiServerName            = "apiserver"
	apiServerAsClientOfNodes = "apiserver-to-kubelet"
)

// authority signs the certificates of one cluster.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	// pem is the certificate in the form that clients trust.
	pem []byte
}

// identity is a key and a certificate for it, both as PEM.
type identity struct{ certificate, key []byte }

// subject says who a certificate is for. Hosts are names and addresses of a server; a client has none.
type subject struct {
	name   string
	groups []string
	hosts  []string
}

func newAuthority() (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "kubernetes-home"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}, nil
}

// issue makes a key and a certificate for it.
func (a *authority) issue(who subject) (identity, error) {
	key, err := newKey()
	if err != nil {
		return identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return identity{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: who.name, Organization: who.groups},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(lifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, host := range who.hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return identity{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	return identity{certificate: encode("CERTIFICATE", der), key: encode("PRIVATE KEY", private)}, nil
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// makePKI writes every key, certificate and kubeconfig of the cluster.
func (c *Cluster) makePKI() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return err
	}
	if err := c.writePKI(authorityCertificate, ca.pem); err != nil {
		return err
	}
	if err := c.writePKI(authorityKey, encode("PRIVATE KEY", private)); err != nil {
		return err
	}
	if err := c.makeServiceAccountKey(); err != nil {
		return err
	}
	if err := c.makeAPIServerIdentities(ca); err != nil {
		return err
	}
	return c.makeKubeconfigs(ca)
}

// makeServiceAccountKey makes the key with which tokens are signed.
func (c *Cluster) makeServiceAccountKey() error {
	key, err := newKey()
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := c.writePKI(serviceAccountKey, encode("PRIVATE KEY", private)); err != nil {
		return err
	}
	return c.writePKI(serviceAccountPublicKey, encode("PUBLIC KEY", public))
}

func (c *Cluster) makeAPIServerIdentities(ca *authority) error {
	server := subject{name: "kube-apiserver", hosts: []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"127.0.0.1", c.Network.apiServer(), c.Network.firstService(),
	}}
	client := subject{name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}}
	for name, who := range map[string]subject{apiServerName: server, apiServerAsClientOfNodes: client} {
		issued, err := ca.issue(who)
		if err != nil {
			return err
		}
		if err := c.writePKI(name+".crt", issued.certificate); err != nil {
			return err
		}
		if err := c.writePKI(name+".key", issued.key); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) pki(file string) string { return c.path("pki", file) }

func (c *Cluster) writePKI(file string, content []byte) error {
	return os.WriteFile(c.pki(file), content, 0o600)
}
