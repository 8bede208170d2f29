package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Names of the control plane's programs, in the order in which they start.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	kubeScheduler     = "kube-scheduler"
)

// ControlPlane names the programs that can be stopped and started, in the order in which they start.
var ControlPlane = []string{etcd, apiServer, controllerManager, kubeScheduler}

// controlPlaneDeadline is how long the API server may take; it needs three seconds on an idle machine.
const controlPlaneDeadline = 4 * time.Minute

// auditPolicy records who asked for what, and nothing of the objects themselves.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// StartProgram starts a program of the control plane; one that runs already is left alone.
func (c *Cluster) StartProgram(program string) error {
	arguments, err := c.arguments(program)
	if err != nil {
		return err
	}
	running, err := find(c.controlNamespace(), program)
	if err != nil || len(running) > 0 {
		return err
	}
	return spawn(c.controlNamespace(), c.log(program), &syscall.SysProcAttr{}, c.Programs, append([]string{program}, arguments...)...)
}

// StopProgram stops a program of the control plane cleanly, and waits for its end.
func (c *Cluster) StopProgram(ctx context.Context, program string) error {
	if _, err := c.arguments(program); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downDeadline)
	defer cancel()
	return end(ctx, program, syscall.SIGTERM, func() ([]process, error) { return find(c.controlNamespace(), program) })
}

// startControlPlane starts etcd and the programs of the control plane, and waits until the API server answers.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := os.WriteFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	for _, program := range ControlPlane {
		if err := c.StartProgram(program); err != nil {
			return err
		}
	}
	return c.WaitReady(ctx)
}

// WaitReady waits until the API server says that it is ready.
func (c *Cluster) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controlPlaneDeadline)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return err
	}
	err = wait(ctx, "the API server to be ready", func() (bool, error) {
		return client.get(ctx, "/readyz", nil) == nil, nil
	})
	return withLog(err, c.log(apiServer))
}

func (c *Cluster) log(program string) string { return c.path("log", program+".log") }

// arguments of a program of the control plane.
func (c *Cluster) arguments(program string) ([]string, error) {
	switch program {
	case etcd:
		return c.etcdArguments(), nil
	case apiServer:
		return c.apiServerArguments(), nil
	case controllerManager:
		return c.managerArguments(), nil
	case kubeScheduler:
		return []string{"--kubeconfig", c.kubeconfig(scheduler), "--leader-elect=false", "--bind-address", "127.0.0.1"}, nil
	}
	return nil, fmt.Errorf("there is no program %q in the control plane: it has %s", program, strings.Join(ControlPlane, ", "))
}

func (c *Cluster) etcdArguments() []string {
	const clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []string{
		"--data-dir", c.path("etcd"),
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
		// What is lost when the machine loses power is a cluster for tests.
		"--unsafe-no-fsync",
	}
}

func (c *Cluster) apiServerArguments() []string {
	return slices.Concat([]string{
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", c.Network.apiServer(), "--advertise-address", c.Network.apiServer(), "--secure-port", "6443",
		"--service-cluster-ip-range", c.Network.services(),
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
		"--allow-privileged", "--enable-bootstrap-token-auth",
		"--kubelet-preferred-address-types", "InternalIP",
	}, []string{
		"--tls-cert-file", c.pki(apiServerName + ".crt"), "--tls-private-key-file", c.pki(apiServerName + ".key"),
		"--client-ca-file", c.pki(authorityCertificate),
		"--kubelet-client-certificate", c.pki(apiServerAsClientOfNodes + ".crt"),
		"--kubelet-client-key", c.pki(apiServerAsClientOfNodes + ".key"),
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", c.pki(serviceAccountPublicKey),
		"--service-account-signing-key-file", c.pki(serviceAccountKey),
	}, []string{
		"--audit-policy-file", c.path("audit-policy.yaml"), "--audit-log-path", c.AuditLog(), "--audit-log-format", "json",
	})
}

func (c *Cluster) managerArguments() []string {
	return []string{
		"--kubeconfig", c.kubeconfig(manager), "--leader-elect=false", "--bind-address", "127.0.0.1",
		"--use-service-account-credentials",
		"--service-account-private-key-file", c.pki(serviceAccountKey), "--root-ca-file", c.pki(authorityCertificate),
		"--cluster-signing-cert-file", c.pki(authorityCertificate), "--cluster-signing-key-file", c.pki(authorityKey),
	}
}
