package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestANetworkIsTwoNumbersOfAPrivateOne(t *testing.T) {
	for text, want := range map[string]bool{
		"10.123": true, "172.20": true, "192.168": true,
		"11.1": false, "10": false, "10.1.2": false, "10.300": false, "": false, "fd00": false,
	} {
		if _, err := ParseNetwork(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestANetworkIsFreeWhereOnlyTheDefaultRouteLeads(t *testing.T) {
	for routes, want := range map[string]bool{
		"": false, "default via 192.0.2.1 dev eth0 \n": false,
		"10.123.0.0/24 dev kh-home proto kernel scope link src 10.123.0.254 \n":            true,
		"default via 192.0.2.1 dev eth0 \n10.0.0.0/8 via 192.0.2.2 dev eth0 metric 100 \n": true,
	} {
		if leadsInto(routes) != want {
			t.Errorf("%q", routes)
		}
	}
}

func TestTheRangesOfANetworkLieInItAndDoNotMeet(t *testing.T) {
	n := Network("10.123")
	whole := netip.MustParsePrefix(string(n) + ".0.0/16")
	nodes := netip.MustParsePrefix(n.apiServer() + "/24").Masked()
	pods, services := netip.MustParsePrefix(n.pods()), netip.MustParsePrefix(n.services())
	for _, part := range []netip.Prefix{nodes, pods, services} {
		if !whole.Contains(part.Addr()) || part.Bits() < whole.Bits() {
			t.Errorf("%s is not in %s", part, whole)
		}
	}
	if nodes.Overlaps(pods) || nodes.Overlaps(services) || pods.Overlaps(services) {
		t.Errorf("%s, %s and %s meet", nodes, pods, services)
	}
	for number := 1; number <= MaxNodes; number++ {
		if part := netip.MustParsePrefix(n.nodePods(number)); !pods.Contains(part.Addr()) {
			t.Errorf("pods of node %d have %s, outside %s", number, part, pods)
		}
		if address := netip.MustParseAddr(n.node(number)); !nodes.Contains(address) || address.String() == n.Host() {
			t.Errorf("node %d has %s", number, address)
		}
	}
	if first := netip.MustParseAddr(n.firstService()); services.Addr().Next() != first {
		t.Errorf("the API server's service is %s, the first address of %s is another", first, services)
	}
}

func TestABadNameOrNumberIsRefused(t *testing.T) {
	self := os.Args[0]
	for _, name := range []string{"", "Home", "a-b", "1a", "../x", "toolongname"} {
		if _, err := New(name, "10.123", 1, self); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
		if err := Down(t.Context(), name); err == nil {
			t.Errorf("the cluster %q is taken down", name)
		}
	}
	if _, err := New("home", "10.123", MaxNodes+1, self); err == nil {
		t.Error("too many nodes are accepted")
	}
	if _, err := New("home", "10.123", 1, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("programs that are not there are accepted")
	}
}

func TestAServerIsTrustedUnderItsNamesOnly(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.issue(subject{name: "server", hosts: []string{"kubernetes", "10.123.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(issued.certificate, issued.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.pem)
	for host, want := range map[string]bool{"kubernetes": true, "10.123.0.1": true, "elsewhere": false, "10.123.0.2": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots})
		if (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
	if pair.Leaf.Version != 3 {
		t.Errorf("the certificate has version %d", pair.Leaf.Version)
	}
}

func TestAClientsCertificateServesNobody(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.issue(subject{name: "system:node:edge-1", groups: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(issued.certificate, issued.key)
	if err != nil {
		t.Fatal(err)
	}
	if usage := pair.Leaf.ExtKeyUsage; len(usage) != 1 || usage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("it may be used for %v", usage)
	}
	if name := pair.Leaf.Subject.String(); name != "CN=system:node:edge-1,O=system:nodes" {
		t.Errorf("it is for %s", name)
	}
}

func TestAWaitSaysWhatWasWaitedForAndWhy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := wait(ctx, "a miracle", func() (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "a miracle") || !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte(strings.Repeat("old\n", logTail)+"the last line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := withLog(err, log).Error(); !strings.Contains(text, "the last line") || len(text) > logTail+500 {
		t.Errorf("the error is %q", text)
	}
}
