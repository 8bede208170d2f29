package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// downDeadline is how long the processes of a cluster may take to end.
const downDeadline = 3 * time.Minute

// needed are the programs that a cluster needs from the machine, and Debian's packages that have them.
var needed = map[string]string{
	"containerd": "containerd", "ctr": "containerd", "runc": "runc", "nft": "nftables", "ip": "iproute2",
	"conntrack": "conntrack", "nsenter": "util-linux",
}

// Up brings the cluster up: its control plane, then its nodes, until all are Ready. It says in one line each what it does.
// What has come up stays up when something fails, so that it can be looked at; Down removes it.
func (c *Cluster) Up(ctx context.Context, say func(format string, arguments ...any)) error {
	if err := c.check(); err != nil {
		return err
	}
	for _, folder := range []string{c.path(), c.path("pki"), c.path("log")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	for _, node := range c.Nodes() {
		if err := node.write(); err != nil {
			return err
		}
	}
	if err := errors.Join(c.save(), c.makePKI()); err != nil {
		return err
	}
	say("network %s.0.0/16, host %s, API server %s", c.Network, c.Network.Host(), c.Network.apiServerURL())
	if err := c.makeNetwork(); err != nil {
		return err
	}
	say("control plane: %s", strings.Join(ControlPlane, ", "))
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	begin := time.Now()
	for _, node := range c.Nodes() {
		say("node %s", node.Name())
		if _, err := node.Start(); err != nil {
			return err
		}
	}
	return c.WaitNodes(ctx, begin.Add(-time.Second), c.Nodes()...)
}

// check says what the machine lacks, and whether the cluster is there already.
func (c *Cluster) check() error {
	if os.Geteuid() != 0 {
		return errors.New("namespaces and mounts need root")
	}
	var packages []string
	for program, debian := range needed {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, debian)
		}
	}
	if _, err := os.Stat(pluginFolder + "/bridge"); err != nil {
		packages = append(packages, "containernetworking-plugins")
	}
	if len(packages) > 0 {
		slices.Sort(packages)
		return fmt.Errorf("programs are missing: install the packages %s", strings.Join(slices.Compact(packages), " "))
	}
	namespaces, err := c.namespacesOf()
	if err != nil {
		return err
	}
	if len(namespaces) > 0 {
		return fmt.Errorf("the cluster %q, or a part of it, is there already: take it down first", c.Name)
	}
	if _, err := os.Stat(c.path()); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder %s is there already: take the cluster %q down first", c.path(), c.Name)
	}
	return nil
}

// Down ends the cluster of that name and removes everything of it, also of one that came up by half or was left by a crash.
func Down(ctx context.Context, name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("the name %q must be 1 to 8 lowercase letters and digits, a letter first", name)
	}
	ctx, cancel := context.WithTimeout(ctx, downDeadline)
	defer cancel()
	c := &Cluster{Name: name}
	namespaces, err := c.namespacesOf()
	if err != nil {
		return err
	}
	for _, namespace := range namespaces {
		all := func() ([]process, error) { return processesIn(namespace) }
		if err := end(ctx, "what runs in "+namespace, syscall.SIGKILL, all); err != nil {
			return err
		}
	}
	for _, namespace := range namespaces {
		if err := run("ip", "netns", "delete", namespace); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/sys/class/net/" + c.hostInterface()); err == nil {
		// It goes with the namespace at its other end, but not at once.
		if err := run("ip", "link", "delete", c.hostInterface()); err != nil && !gone(c.hostInterface()) {
			return err
		}
	}
	return errors.Join(removeCgroups(ctx, c.namespacePrefix()+"*"), c.removeFolder())
}

func gone(networkInterface string) bool {
	_, err := os.Stat("/sys/class/net/" + networkInterface)
	return errors.Is(err, fs.ErrNotExist)
}

// removeFolder removes the cluster's folder, after unmounting what may be mounted below it.
func (c *Cluster) removeFolder() error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer file.Close()
	var below []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// The fifth field is the mount point.
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], c.path()+"/") {
			below = append(below, fields[4])
		}
	}
	slices.Reverse(below)
	for _, target := range below {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return os.RemoveAll(c.path())
}
