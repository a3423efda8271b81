package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilled kills the parent, the init and the build of a session at many
// moments, as root and as an ordinary user, and then looks for processes,
// mounts and loop devices.
func TestKilled(t *testing.T) {
	tree := busyboxTree(t)
	need(t, "losetup", "mkfs.ext4")
	for name, as := range people(t) {
		for _, victim := range []string{"parent", "init", "build"} {
			for i := range 5 {
				dir := openDir(t)
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				mark := fmt.Sprintf("%s=kill-%d-%s-%s-%d", markVar, os.Getpid(), name, victim, i)
				line := busyLine(dir, tree)
				if as == nil {
					line = loopLine(dir) + line
				}
				cmd := program(t, as, mark, lineVar+"="+line)
				killOne(t, cmd, victim, mark, dir, tree, time.Duration(i)*40*time.Millisecond)
			}
		}
	}
}

// busyLine leaves daemons in the session, mounts, and a command in a tree.
func busyLine(dir, tree string) string {
	return fmt.Sprintf(`trap '' TERM HUP INT; setsid sleep 1000 & mkdir %[1]s/m && mount -t tmpfs x %[1]s/m
		sleep 1000 & %[2]s='run' %[3]s=%[4]s %[5]s='setsid sleep 1000 & echo tree >&2; sleep 1000' /proc/$PPID/exe & echo up; sleep 1000`,
		dir, roleVar, treeVar, tree, lineVar)
}

func loopLine(dir string) string {
	return fmt.Sprintf(`truncate -s 4M %[1]s/disk; mkfs.ext4 -q %[1]s/disk; mkdir %[1]s/l; mount -o loop %[1]s/disk %[1]s/l || exit 1; (cd %[1]s/l; sleep 1000) & `, dir)
}

func killOne(t *testing.T, cmd *exec.Cmd, victim, mark, dir, tree string, after time.Duration) {
	t.Helper()
	stderr, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	pid := cmd.Process.Pid
	if victim != "parent" {
		pid = childOf(t, pid, sessionInitName)
	}
	if victim == "build" {
		pid = childOf(t, pid, cmd.Path)
	}
	kill(t, pid, syscall.SIGKILL)
	if err := cmd.Wait(); err == nil {
		t.Errorf("%s killed, and yet success", victim)
	}
	if want := map[string]int{"parent": -1, "init": 137, "build": 137}[victim]; cmd.ProcessState.ExitCode() != want {
		log, _ := os.ReadFile(stderr.Name())
		t.Errorf("%s killed: exit code %d, want %d\n%s", victim, cmd.ProcessState.ExitCode(), want, log)
	}
	if victim == "parent" {
		eventually(t, mark+": no process", func() bool { return len(marked(t, mark)) == 0 })
	}
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("%s killed: %q left", victim, left)
	}
	// Inits have no environment; the root tells them.
	eventually(t, mark+": no init", func() bool { return len(inits(t, tree)) == 0 })
	// The last process may still be on its way out after a killed parent.
	eventually(t, mark+": no mount, no loop device", func() bool { return !mounted(t, dir) && !looped(t, dir) })
}

// childOf waits for the child of a process that has that argv[0]. Between fork
// and exec a child has its parent's, and newuidmap is a child, too.
func childOf(t *testing.T, pid int, name string) int {
	t.Helper()
	child := 0
	eventually(t, "a child "+name, func() bool {
		processes(t, func(dir string) bool {
			var ppid int
			stat, _ := os.ReadFile(dir + "/stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			_, err := fmt.Sscanf(rest, "%1s %d", new(string), &ppid)
			cmdline, _ := os.ReadFile(dir + "/cmdline")
			if err == nil && ppid == pid && strings.HasPrefix(string(cmdline), name+"\x00") {
				_, _ = fmt.Sscan(filepath.Base(dir), &child)
			}
			return false
		})
		return child != 0
	})
	return child
}

// mounted says whether any process sees a mount in the folder.
func mounted(t *testing.T, dir string) bool {
	return len(processes(t, func(p string) bool {
		b, _ := os.ReadFile(p + "/mountinfo")
		return strings.Contains(string(b), dir)
	})) > 0
}

func looped(t *testing.T, dir string) bool {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.HasPrefix(string(b), dir) {
			return true
		}
	}
	return false
}
