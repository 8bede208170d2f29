package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// restartPause is how long a program of a node that has ended stays down.
const restartPause = time.Second

// containerdDeadline is how long containerd may take until it listens.
const containerdDeadline = 2 * time.Minute

// Init is the first process of a node: it arranges the node's files, starts containerd, kube-proxy and the kubelet, starts each
// again when it ends, and collects orphans. It never returns but with an error, which ends the node.
func (n Node) Init() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is run by `start`, in namespaces of its own", NodeInit)
	}
	if err := n.mount(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(n.Name())); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	running := map[int]program{}
	for _, program := range n.programs() {
		pid, err := program.start()
		if err != nil {
			return err
		}
		running[pid] = program
		if program.name == "containerd" {
			if err := waitListening(containerdSocket, containerdDeadline); err != nil {
				return withLog(err, program.log)
			}
		}
	}
	return supervise(running)
}

// mount puts the node's own folders in place of the machine's. Nothing of it is seen outside, and inside mounts are shared with
// pods, as the kubelet expects.
func (n Node) mount() error {
	steps := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{n.varLib(), "/var/lib", "", unix.MS_BIND},
		{n.varLog(), "/var/log", "", unix.MS_BIND},
		{"tmpfs", "/run", "tmpfs", 0},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},
	}
	for _, step := range steps {
		if err := unix.Mount(step.source, step.target, step.kind, step.flags, ""); err != nil {
			return fmt.Errorf("mount %q on %s: %w", step.source, step.target, err)
		}
	}
	for _, folder := range []string{"/run/netns", "/run/lock", "/var/lib/kubelet", "/var/lib/containerd"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// program is what a node runs.
type program struct {
	name      string
	path      string
	arguments []string
	log       string
}

// programs of the node, in the order in which they start.
func (n Node) programs() []program {
	c := n.cluster
	programs := []program{
		{name: "containerd", path: "containerd", arguments: []string{"--config", n.path("containerd.toml")}},
		{name: "kube-proxy", path: c.Programs, arguments: []string{
			"kube-proxy", "--kubeconfig", c.kubeconfig(proxy), "--hostname-override", n.Name(),
			"--proxy-mode", "nftables", "--cluster-cidr", c.Network.pods(), "--bind-address", c.Network.node(n.Number),
			// The machine's table of connections is not a node's to resize.
			"--conntrack-max-per-core", "0",
		}},
		{name: "kubelet", path: c.Programs, arguments: []string{
			"kubelet", "--kubeconfig", n.path("kubeconfig"), "--config", n.path("kubelet.yaml"),
			"--hostname-override", n.Name(), "--node-ip", c.Network.node(n.Number),
		}},
	}
	for i := range programs {
		programs[i].log = n.log(programs[i].name)
	}
	return programs
}

// start starts a program, and leaves it to supervise to wait for its end.
func (p program) start() (int, error) {
	path, err := exec.LookPath(p.path)
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	process, err := os.StartProcess(path, append([]string{filepath.Base(path)}, p.arguments...), &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{null, log, log},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", p.name, err)
	}
	// Release makes the number -1.
	pid := process.Pid
	slog.Info("started", "program", p.name, "pid", pid)
	return pid, process.Release()
}

// supervise waits for whatever ends, orphans too, and starts the programs again.
func supervise(running map[int]program) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for a program: %w", err)
		}
		ended, ours := running[pid]
		if !ours {
			continue
		}
		slog.Warn("ended, and is started again", "program", ended.name, "status", status.ExitStatus(), "signal", status.Signal())
		delete(running, pid)
		time.Sleep(restartPause)
		pid, err = ended.start()
		if err != nil {
			return err
		}
		running[pid] = ended
	}
}

// waitListening waits until somebody listens on a socket.
func waitListening(socket string, deadline time.Duration) error {
	end := time.Now().Add(deadline)
	for {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			return connection.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nobody listens on %s: %w", socket, err)
		}
		time.Sleep(pollInterval)
	}
}
