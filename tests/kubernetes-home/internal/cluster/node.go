package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// NodeInit is the command of this program that a node runs as its first process.
const NodeInit = "node-init"

// nodeDeadline is how long nodes may take to become Ready; they need seconds on an idle machine.
const nodeDeadline = 6 * time.Minute

// Start boots a node, and says whether it did: one that runs already is left alone.
func (n Node) Start() (bool, error) {
	running, err := n.inits()
	if err != nil || len(running) > 0 {
		return false, err
	}
	if err := n.makeCgroup(); err != nil {
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	namespaces := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS}
	return true, spawn(n.namespace(), n.log("init"), namespaces, self, NodeInit, "--name", n.cluster.Name, n.Name())
}

// Kill ends a node at once, as a power cut does: its first process is killed, and the kernel ends all others.
func (n Node) Kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downDeadline)
	defer cancel()
	if err := end(ctx, n.Name(), syscall.SIGKILL, n.inits); err != nil {
		return err
	}
	all := func() ([]process, error) { return processesIn(n.namespace()) }
	if err := end(ctx, "what runs on "+n.Name(), syscall.SIGKILL, all); err != nil {
		return err
	}
	return removeCgroups(ctx, n.cgroup())
}

// inits are the first processes of the node: one or none.
func (n Node) inits() ([]process, error) { return find(n.namespace(), NodeInit) }

func (n Node) log(program string) string { return n.path("log", program+".log") }

// Command is a program that runs on the node, as its root, with the node's files, network and processes.
func (n Node) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	running, err := n.inits()
	if err != nil {
		return nil, err
	}
	if len(running) == 0 {
		return nil, fmt.Errorf("%s does not run: start it first", n.Name())
	}
	enter := []string{"--target", strconv.Itoa(running[0].pid), "--mount", "--net", "--pid", "--uts", "--"}
	return exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...), nil
}

// load imports an image archive on the node.
func (n Node) load(ctx context.Context, archive io.Reader) error {
	snapshotter, err := n.cluster.snapshotter()
	if err != nil {
		return err
	}
	command, err := n.Command(ctx, "ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", snapshotter, "-")
	if err != nil {
		return err
	}
	command.Stdin = archive
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("import on %s: %w: %s", n.Name(), err, output)
	}
	return nil
}

// Load imports image archives, as `docker save` writes them, on every node that runs.
func (c *Cluster) Load(ctx context.Context, archives ...string) error {
	failed := make(chan error)
	for _, node := range c.Nodes() {
		go func() { failed <- node.loadAll(ctx, archives) }()
	}
	var errs []error
	for range c.Nodes() {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

func (n Node) loadAll(ctx context.Context, archives []string) error {
	for _, archive := range archives {
		file, err := os.Open(archive)
		if err != nil {
			return err
		}
		err = n.load(ctx, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitNodes waits until these nodes have said since then that they are Ready.
func (c *Cluster) WaitNodes(ctx context.Context, since time.Time, nodes ...Node) error {
	ctx, cancel := context.WithTimeout(ctx, nodeDeadline)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		err := wait(ctx, node.Name()+" to be Ready", func() (bool, error) {
			// The node may not have registered yet, and the API server may be starting.
			ready, err := client.nodeReady(ctx, node.Name(), since)
			return err == nil && ready, nil
		})
		if err != nil {
			return withLog(withLog(err, node.log("init")), node.log("kubelet"))
		}
	}
	return nil
}
