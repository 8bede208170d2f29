package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PauseImage is the image of every pod's sandbox.
const PauseImage = "edgeloom.local/pause:1"

const (
	containerdSocket = "/run/containerd/containerd.sock"
	// pluginFolder is where Debian's package containernetworking-plugins puts its programs.
	pluginFolder = "/usr/lib/cni"
)

// The node's own folders, which it sees in place of the machine's.
func (n Node) varLib() string { return n.path("lib") }
func (n Node) varLog() string { return n.path("var-log") }

// write writes the node's folders and the configuration of its programs.
func (n Node) write() error {
	for _, folder := range []string{n.varLib(), n.varLog(), n.path("log"), n.path("cni")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	snapshotter, err := n.cluster.snapshotter()
	if err != nil {
		return err
	}
	files := map[string]string{
		n.path("cni", "10-bridge.conflist"): n.networkConfiguration(),
		n.path("containerd.toml"):           n.containerdConfiguration(snapshotter),
		n.path("kubelet.yaml"):              n.kubeletConfiguration(),
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// networkConfiguration gives pods addresses of the node's range behind a bridge. Their packets leave the node unchanged: the
// other nodes and the host have routes to them.
func (n Node) networkConfiguration() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "kubernetes-home",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, n.cluster.Network.nodePods(n.Number))
}

func (n Node) containerdConfiguration(snapshotter string) string {
	return fmt.Sprintf(`version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # Where this machine does not let root lower the score, pods would not start.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = %q
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q
`, PauseImage, snapshotter, pluginFolder, n.path("cni"))
}

func (n Node) kubeletConfiguration() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %s}
authorization: {mode: Webhook}
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://%s
volumePluginDir: /var/lib/kubelet/plugins-exec
failSwapOn: false
# There is no name service; the host's would not answer from here.
resolvConf: ""
# Images come from archives and could not be fetched again: none is thrown away.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.inodesFree: 1%%}
`, n.cluster.Network.node(n.Number), n.cluster.pki(authorityCertificate), n.cgroup(), containerdSocket)
}

// snapshotter is overlayfs where the file system of the cluster's folder can carry it, and otherwise native, which copies.
func (c *Cluster) snapshotter() (string, error) {
	folder, err := os.MkdirTemp(c.path(), "overlay-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	for _, part := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(folder, part), 0o700); err != nil {
			return "", err
		}
	}
	merged := filepath.Join(folder, "merged")
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", folder)
	if unix.Mount("overlay", merged, "overlay", 0, options) != nil {
		return "native", nil
	}
	return "overlayfs", unix.Unmount(merged, 0)
}
