package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroups is where the control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// cgroup is the name of the node's control group; that of the kubelet's pods lies below it. It is the same as its namespace's, so
// that Down finds both by the same prefix.
func (n Node) cgroup() string { return n.namespace() }

// unified says whether the machine has control groups v2 only.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers"))
	return err == nil
}

// makeCgroup makes the node's control group, which the kubelet wants to find.
func (n Node) makeCgroup() error {
	if unified() {
		return n.makeUnifiedCgroup()
	}
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		group := filepath.Join(hierarchy, n.cgroup())
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		// A group of cpuset takes no process before it says which processors and which memory it may use.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(hierarchy, group, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// hierarchies lists the folders of control groups v1, one for each controller. Links, such as cpu to cpu,cpuacct, are not
// followed.
func hierarchies() ([]string, error) {
	entries, err := os.ReadDir(cgroups)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() {
			folders = append(folders, filepath.Join(cgroups, entry.Name()))
		}
	}
	return folders, nil
}

// inherit copies a setting from the parent, where there is one.
func inherit(parent, child, file string) error {
	value, err := os.ReadFile(filepath.Join(parent, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(child, file), value, 0)
}

// makeUnifiedCgroup hands every controller of the machine down to the node's group.
func (n Node) makeUnifiedCgroup() error {
	group := filepath.Join(cgroups, n.cgroup())
	if err := os.MkdirAll(group, 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(cgroups, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(text)) {
		for _, folder := range []string{cgroups, group} {
			if err := os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
				return fmt.Errorf("hand the controller %s down to %s: %w", controller, group, err)
			}
		}
	}
	return nil
}

// removeCgroups removes the control groups whose names match a pattern, with all below them. The kernel may need a moment after the
// last process has ended.
func removeCgroups(ctx context.Context, pattern string) error {
	groups, err := filepath.Glob(filepath.Join(cgroups, pattern))
	if err != nil {
		return err
	}
	below, err := filepath.Glob(filepath.Join(cgroups, "*", pattern))
	if err != nil {
		return err
	}
	for _, group := range append(groups, below...) {
		err := wait(ctx, group+" to be empty", func() (bool, error) {
			err := removeTree(group)
			if errors.Is(err, unix.EBUSY) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a folder of control groups from its leaves; their files cannot be removed, and need not be.
func removeTree(root string) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.Reverse(folders)
	for _, folder := range folders {
		if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
