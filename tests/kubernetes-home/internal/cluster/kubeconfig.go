package cluster

import (
	"encoding/json"
	"os"
)

// Kubeconfigs of the programs, by file name without its ending. Nodes have theirs in their own folders.
const (
	administrator = "admin"
	manager       = "controller-manager"
	scheduler     = "scheduler"
	proxy         = "proxy"
)

// makeKubeconfigs writes one kubeconfig per client, with its certificate inside, so that it may be copied.
func (c *Cluster) makeKubeconfigs(ca *authority) error {
	clients := map[string]subject{
		c.kubeconfig(administrator): {name: "kubernetes-admin", groups: []string{"system:masters"}},
		c.kubeconfig(manager):       {name: "system:kube-controller-manager"},
		c.kubeconfig(scheduler):     {name: "system:kube-scheduler"},
		c.kubeconfig(proxy):         {name: "system:kube-proxy"},
	}
	for _, node := range c.Nodes() {
		clients[node.path("kubeconfig")] = subject{name: "system:node:" + node.Name(), groups: []string{"system:nodes"}}
	}
	for path, who := range clients {
		issued, err := ca.issue(who)
		if err != nil {
			return err
		}
		text, err := c.kubeconfigOf(ca, who.name, issued)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) kubeconfig(client string) string { return c.path(client + ".kubeconfig") }

// kubeconfigOf is JSON, which is YAML as well.
func (c *Cluster) kubeconfigOf(ca *authority, user string, issued identity) ([]byte, error) {
	context := "kubernetes-home-" + c.Name
	return json.MarshalIndent(map[string]any{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []any{map[string]any{"name": context, "cluster": map[string]any{
			"server":                     c.Network.apiServerURL(),
			"certificate-authority-data": ca.pem,
		}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{
			"client-certificate-data": issued.certificate,
			"client-key-data":         issued.key,
		}}},
		"contexts": []any{map[string]any{"name": context, "context": map[string]any{
			"cluster": context,
			"user":    user,
		}}},
		"current-context": context,
	}, "", "  ")
}
