package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAProgramIsKnownByTheNumberUnderWhichItEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	pid, err := program{name: "sh", path: "sh", arguments: []string{"-c", "echo said; exit 3"}, log: log}.start()
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || pid <= 0 || status.ExitStatus() != 3 {
		t.Errorf("process %d ended with %d: %v", pid, status.ExitStatus(), err)
	}
	if said, err := os.ReadFile(log); err != nil || strings.TrimSpace(string(said)) != "said" {
		t.Errorf("the log has %q: %v", said, err)
	}
}
