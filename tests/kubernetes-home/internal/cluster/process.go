package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a process of the host's process table.
type process struct {
	pid  int
	args []string
}

// isProgram says whether the process runs a program of kubernetes-programs, or a command of this one.
func (p process) isProgram(name string) bool { return len(p.args) > 1 && p.args[1] == name }

// processesIn lists the living processes whose network namespace has this name. A process that ends meanwhile is left out.
func processesIn(namespace string) ([]process, error) {
	wanted, err := os.Stat(filepath.Join(namedNamespaces, namespace))
	if err != nil {
		return nil, err
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, folder := range folders {
		// The link of a process that has ended, but that nobody waited for, cannot be followed.
		has, err := os.Stat(filepath.Join(folder, "ns", "net"))
		if err != nil || !os.SameFile(wanted, has) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil {
			continue
		}
		found = append(found, process{pid: pid, args: strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")})
	}
	return found, nil
}

// find returns the processes in a namespace that run a program.
func find(namespace, program string) ([]process, error) {
	all, err := processesIn(namespace)
	return slices.DeleteFunc(all, func(p process) bool { return !p.isProgram(program) }), err
}

// end kills processes and waits until list returns none. What is killed with SIGTERM and does not end is killed for good.
func end(ctx context.Context, what string, signal syscall.Signal, list func() ([]process, error)) error {
	patience := time.Now().Add(10 * time.Second)
	return wait(ctx, what+" to end", func() (bool, error) {
		processes, err := list()
		if err != nil || len(processes) == 0 {
			return err == nil, err
		}
		if time.Now().After(patience) {
			signal = syscall.SIGKILL
		}
		for _, p := range processes {
			if err := syscall.Kill(p.pid, signal); err != nil && err != syscall.ESRCH {
				return false, fmt.Errorf("kill process %d: %w", p.pid, err)
			}
		}
		return false, nil
	})
}

// spawn starts a program in a network namespace, detached from this one, with everything it says in a file.
func spawn(namespace, log string, attributes *syscall.SysProcAttr, program string, arguments ...string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = file, file
	command.SysProcAttr = attributes
	command.SysProcAttr.Setsid = true
	if err := inNamespace(namespace, command.Start); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	return command.Process.Release()
}
