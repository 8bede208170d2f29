// Package cluster brings a real Kubernetes cluster up on one machine, without a container engine around it: the
// control plane lives in a network namespace, and each node in a network, mount, process and host-name namespace of its
// own, with its own containerd, kubelet and kube-proxy. Root is needed.
//
// Everything of a cluster is found again by its names: a folder, network namespaces, one network interface and control groups.
// No process number is written down, so that Down also works after a crash.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// Folder is where the state of clusters lies, one folder each. It must not lie below /run, /var/lib or /var/log, of which every
// node has its own.
const Folder = "/var/cache/kubernetes-home"

// MaxNodes is how many nodes the address plan has room for.
const MaxNodes = 32

// DefaultName is the cluster that is meant when none is named.
const DefaultName = "home"

// The name is part of the name of a network interface, which has at most 15 characters.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// Cluster is what is written down of a cluster: what was asked for, nothing that changes.
type Cluster struct {
	// Name tells clusters on the same machine apart.
	Name string `json:"name"`
	// Network is the first two numbers of its addresses, such as "10.123".
	Network Network `json:"network"`
	// NumNodes is how many nodes it has: edge-1, edge-2 and so on.
	NumNodes int `json:"numNodes"`
	// Programs is the path of the binary kubernetes-programs.
	Programs string `json:"programs"`
}

// New returns a cluster that is not up yet.
func New(name string, network Network, numNodes int, programs string) (*Cluster, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("the name %q must be 1 to 8 lowercase letters and digits, a letter first", name)
	}
	if numNodes < 0 || numNodes > MaxNodes {
		return nil, fmt.Errorf("the number of nodes is %d, must be 0 to %d", numNodes, MaxNodes)
	}
	programs, err := filepath.Abs(programs)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(programs); err != nil {
		return nil, fmt.Errorf("the programs of Kubernetes are not built: %w", err)
	}
	return &Cluster{Name: name, Network: network, NumNodes: numNodes, Programs: programs}, nil
}

// Open reads what was written down of a cluster that is up.
func Open(name string) (*Cluster, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("the name %q must be 1 to 8 lowercase letters and digits, a letter first", name)
	}
	c := &Cluster{Name: name}
	text, err := os.ReadFile(c.path("cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q: bring it up first", name)
	}
	if err != nil {
		return nil, err
	}
	return c, json.Unmarshal(text, c)
}

// Kubeconfig is the path of the administrator's kubeconfig, which works from the host.
func (c *Cluster) Kubeconfig() string { return c.path("admin.kubeconfig") }

// AuditLog is the path of the API server's audit log: one JSON event per line.
func (c *Cluster) AuditLog() string { return c.path("log", "audit.log") }

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{Folder, c.Name}, parts...)...)
}

func (c *Cluster) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path("cluster.json"), append(text, '\n'), 0o600)
}

// Node is one machine of a cluster.
type Node struct {
	cluster *Cluster
	// Number counts from 1.
	Number int
}

// Name is what Kubernetes calls the node.
func (n Node) Name() string { return "edge-" + strconv.Itoa(n.Number) }

func (n Node) path(parts ...string) string {
	return n.cluster.path(append([]string{n.Name()}, parts...)...)
}

// Nodes are all nodes, in order.
func (c *Cluster) Nodes() []Node {
	nodes := make([]Node, c.NumNodes)
	for i := range nodes {
		nodes[i] = Node{cluster: c, Number: i + 1}
	}
	return nodes
}

// Node finds a node by its name.
func (c *Cluster) Node(name string) (Node, error) {
	for _, node := range c.Nodes() {
		if node.Name() == name {
			return node, nil
		}
	}
	return Node{}, fmt.Errorf("there is no node %q: the cluster has edge-1 to edge-%d", name, c.NumNodes)
}
