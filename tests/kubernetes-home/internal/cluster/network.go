package cluster

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// Network is the address plan of a cluster, inside one private /16. N stands for its first two numbers.
//
//	N.0.1            the control plane, and the nodes' way to the host
//	N.0.10 + i       node i
//	N.0.254          the host
//	N.64.0/18        pods; node i has N.(64+i).0/24
//	N.128.0/20       services
type Network string

// firstChoice and those after it are seldom used by anybody else.
const (
	firstChoice = 123
	choices     = 32
)

// FreeNetwork is the first of some networks into which this machine has no way yet but its default route.
func FreeNetwork() (Network, error) {
	for number := firstChoice; number < firstChoice+choices; number++ {
		network := Network(fmt.Sprintf("10.%d", number))
		taken := false
		for _, selector := range []string{"root", "match"} {
			routes, err := exec.Command("ip", "-4", "route", "show", selector, string(network)+".0.0/16").Output()
			if err != nil {
				return "", fmt.Errorf("ip route show: %w", err)
			}
			taken = taken || leadsInto(string(routes))
		}
		if !taken {
			return network, nil
		}
	}
	return "", fmt.Errorf("this machine has routes into each of 10.%d.0.0/16 to 10.%d.0.0/16: name another private network with --network",
		firstChoice, firstChoice+choices-1)
}

// leadsInto says whether there is any route but the default one in what `ip route show` prints.
func leadsInto(routes string) bool {
	for line := range strings.Lines(routes) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "default") {
			return true
		}
	}
	return false
}

// ParseNetwork accepts the first two numbers of a private network.
func ParseNetwork(text string) (Network, error) {
	address, err := netip.ParseAddr(text + ".0.0")
	if err != nil || !address.Is4() || !address.IsPrivate() || strings.Count(text, ".") != 1 {
		return "", fmt.Errorf("the network %q must be the first two numbers of a private network, such as 10.%d", text, firstChoice)
	}
	return Network(text), nil
}

func (n Network) apiServer() string          { return string(n) + ".0.1" }
func (n Network) apiServerURL() string       { return "https://" + n.apiServer() + ":6443" }
func (n Network) node(number int) string     { return fmt.Sprintf("%s.0.%d", n, 10+number) }
func (n Network) nodePods(number int) string { return fmt.Sprintf("%s.%d.0/24", n, 64+number) }
func (n Network) pods() string               { return string(n) + ".64.0/18" }
func (n Network) services() string           { return string(n) + ".128.0/20" }
func (n Network) firstService() string       { return string(n) + ".128.1" }

// Host is the address of the host, as pods and nodes see it.
func (n Network) Host() string { return string(n) + ".0.254" }

// Namespaces and interfaces carry the cluster's name. The prefix says whose they are.
func (c *Cluster) namespacePrefix() string  { return "kh-" + c.Name + "-" }
func (c *Cluster) controlNamespace() string { return c.namespacePrefix() + "control" }
func (c *Cluster) hostInterface() string    { return "kh-" + c.Name }
func (n Node) namespace() string            { return n.cluster.namespacePrefix() + n.Name() }

// makeNetwork makes the namespaces, the bridge and the wires. The bridge lies in the control plane's namespace; the host has one
// interface and two routes into it.
func (c *Cluster) makeNetwork() error {
	if err := c.makeControlNetwork(); err != nil {
		return err
	}
	for _, node := range c.Nodes() {
		if err := c.connect(node); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) makeControlNetwork() error {
	control := c.controlNamespace()
	if err := makeNamespace(control); err != nil {
		return err
	}
	err := ip(control,
		"link set lo up",
		"link add bridge type bridge",
		"address add "+c.Network.apiServer()+"/24 dev bridge",
		"link set bridge up")
	if err != nil {
		return err
	}
	// Services are reached through the first node, whose kube-proxy translates them.
	return ip("",
		"link add "+c.hostInterface()+" type veth peer name host netns "+control,
		"address add "+c.Network.Host()+"/24 dev "+c.hostInterface(),
		"link set "+c.hostInterface()+" up",
		"-netns "+control+" link set host master bridge up",
		"route add "+c.Network.pods()+" via "+c.Network.apiServer(),
		"route add "+c.Network.services()+" via "+c.Network.node(1))
}

// connect gives a node its namespace, its wire to the bridge and the routes to the other nodes' pods.
func (c *Cluster) connect(node Node) error {
	if err := makeNamespace(node.namespace()); err != nil {
		return err
	}
	port := fmt.Sprintf("node-%d", node.Number)
	err := ip(c.controlNamespace(),
		"link add "+port+" type veth peer name eth0 netns "+node.namespace(),
		"link set "+port+" master bridge up",
		"route add "+c.Network.nodePods(node.Number)+" via "+c.Network.node(node.Number))
	if err != nil {
		return err
	}
	commands := []string{
		"link set lo up",
		"address add " + c.Network.node(node.Number) + "/24 dev eth0",
		"link set eth0 up",
		"route add default via " + c.Network.apiServer(),
	}
	for _, other := range c.Nodes() {
		if other != node {
			commands = append(commands, "route add "+c.Network.nodePods(other.Number)+" via "+c.Network.node(other.Number))
		}
	}
	return ip(node.namespace(), commands...)
}
