package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// namedNamespaces is where `ip netns` keeps network namespaces.
const namedNamespaces = "/run/netns"

// makeNamespace makes a network namespace that forwards between its interfaces.
func makeNamespace(name string) error {
	if err := run("ip", "netns", "add", name); err != nil {
		return err
	}
	return inNamespace(name, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
}

// namespacesOf lists the named network namespaces of the cluster.
func (c *Cluster) namespacesOf() ([]string, error) {
	entries, err := os.ReadDir(namedNamespaces)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), c.namespacePrefix()) {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// inNamespace does something on a thread that is in a network namespace; programs started by it are born there.
func inNamespace(name string, do func() error) error {
	failed := make(chan error)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and nobody else inherits its namespace.
		runtime.LockOSThread()
		failed <- func() error {
			file, err := os.Open(filepath.Join(namedNamespaces, name))
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace %s: %w", name, err)
			}
			return do()
		}()
	}()
	return <-failed
}

// ip runs commands of the program `ip` one after the other, in a network namespace or, when that is empty, on the host.
func ip(namespace string, commands ...string) error {
	for _, command := range commands {
		arguments := strings.Fields(command)
		if namespace != "" {
			arguments = append([]string{"-netns", namespace}, arguments...)
		}
		if err := run("ip", arguments...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program to its end; the error carries what it said.
func run(program string, arguments ...string) error {
	output, err := exec.Command(program, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
