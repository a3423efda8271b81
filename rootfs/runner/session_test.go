package runner

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// people are the two kinds of users that a session is for.
func people(t *testing.T) map[string]*user.User {
	t.Helper()
	return map[string]*user.User{"root": nil, "user": ordinaryUser(t)}
}

// ordinaryUser makes a user with subordinate ids, and removes it afterwards.
func ordinaryUser(t *testing.T) *user.User {
	t.Helper()
	need(t, "useradd", "userdel", "usermod", "newuidmap", "newgidmap")
	name := fmt.Sprintf("rtest%d", os.Getpid())
	if u, err := user.Lookup(name); err == nil {
		return u
	}
	run(t, "useradd", "-m", name)
	t.Cleanup(func() { run(t, "userdel", "-f", "-r", name) })
	for file, option := range map[string]string{"/etc/subuid": "--add-subuids", "/etc/subgid": "--add-subgids"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if mine, free := parseSubIDs(string(b), name); len(mine) == 0 {
			run(t, "usermod", option, fmt.Sprintf("%d-%d", free, free+65535), name)
		}
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// run changes the accounts; tests of other packages may hold their lock now.
func run(t *testing.T, args ...string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil || strings.Contains(string(out), "mail spool") {
			return
		}
		if !strings.Contains(string(out), "lock") || time.Now().After(end) {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}

// program is the test binary to be started as a program, by root or a user.
func program(t *testing.T, as *user.User, vars ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe2 := filepath.Join(openDir(t), "program")
	copyFile(t, exe, exe2)
	cmd := exec.Command(exe2, "-an", "argument")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), roleVar + "=session"}, vars...)
	cmd.Dir = "/"
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil { // the test gave up on it
			kill(t, cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
	})
	if as != nil {
		uid, _ := strconv.ParseUint(as.Uid, 10, 32)
		gid, _ := strconv.ParseUint(as.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

func TestSession(t *testing.T) {
	tree := busyboxTree(t)
	all := people(t)
	if err := os.Chmod(filepath.Join(tree, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, as := range all {
		for _, c := range []struct{ name, tree, line, want string }{
			{"ids", "", "id -u; id -g", "0\n0\n"},
			{"own pids", "", "tr '\\0' ' ' < /proc/1/cmdline | cut -d' ' -f1,4-; set -- /proc/[0-9]*; echo $#",
				"lithify-session-init -an argument \n3\n"},
			{"arguments", "", "tr '\\0' ' ' < /proc/$PPID/cmdline | cut -d' ' -f2-", "-an argument \n"},
			{"no mark", "", "env | grep -c ^LITHIFY", "0\n"},
			{"chown", "", "cd $(mktemp -d) && touch a && chown 1234:65534 a && stat -c %u:%g a && rm a && rmdir $PWD", "1234:65534\n"},
			{"mount", "", "mount -t tmpfs none /mnt && touch /mnt/x && ls /mnt", "x\n"},
			{"in a tree", tree, "id -u; echo $PPID; cd /tmp; touch a; chown 1:2 a; stat -c %u:%g a; rm -f a; ls /dev | wc -l; echo x > /dev/null; touch /sys/x || echo ro",
				"0\n1\n1:2\n13\ntouch: /sys/x: Read-only file system\nro\n"},
			{"capabilities", "", "grep -c 'CapAmb:.0000000000000000' /proc/self/status; grep -c 'CapInh:.0000000000000000' /proc/self/status", "1\n1\n"},
		} {
			cmd := program(t, as, treeVar+"="+c.tree, lineVar+"="+c.line)
			out, err := cmd.CombinedOutput()
			if err != nil && c.name != "no mark" || string(out) != c.want {
				t.Errorf("%s, %s: %v\n%s", name, c.name, err, out)
			}
		}
	}
}

func TestSessionUserNamespace(t *testing.T) {
	all := people(t)
	const line = "readlink /proc/self/ns/user; echo $_CONTAINERS_USERNS_CONFIGURED $_CONTAINERS_ROOTLESS_UID $_CONTAINERS_ROOTLESS_GID; tr -s ' ' </proc/self/uid_map; grep CapEff /proc/self/status"
	host, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	caps := "CapEff:\t000001ffffffffff\n"
	for name, want := range map[string]string{"root": host + "\n\n 0 0 4294967295\n", "forced": "done 0 0\n 0 0 4294967295\n" + caps,
		"user": fmt.Sprintf("done %s %s\n 0 %s 1\n 1 ", all["user"].Uid, all["user"].Gid, all["user"].Uid)} {
		cmd := program(t, all[name], lineVar+"="+line)
		if name == "forced" {
			cmd.Env = append(cmd.Env, roleVar+"=session-user")
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), host) != (name == "root") {
			t.Errorf("%s: %v\n%s\nwant %s", name, err, out, want)
		}
	}
	if InUserNamespace() {
		t.Log("the test itself runs in a user namespace")
	}
}

func TestSessionExitCodes(t *testing.T) {
	for name, as := range people(t) {
		for line, want := range map[string]int{
			"exit 0": 0, "exit 7": 7, "exit 126": 126, "exit 255": 255,
			"kill -KILL $PPID; sleep 9": 137, "kill -TERM $PPID; sleep 9": 143,
			"kill -KILL 1; exit 3": 3, // an init is safe from its own
		} {
			cmd := program(t, as, lineVar+"="+line)
			err := cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("%s: %s: %d, want %d (%v)", name, line, got, want, err)
			}
		}
	}
}

// TestSessionInSession: what a hook of a build starts may have a session again.
func TestSessionInSession(t *testing.T) {
	for name, as := range people(t) {
		cmd := program(t, as)
		line := fmt.Sprintf("%s='exit 5' %s=session %s; echo $?", lineVar, roleVar, cmd.Path)
		cmd.Env = append(cmd.Env, lineVar+"="+line)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "5\n" {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestOpenFiles: the build has the files that its caller left open, a job
// server's for instance.
func TestOpenFiles(t *testing.T) {
	for name, as := range people(t) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := program(t, as, lineVar+"=echo to 3 >&3")
		cmd.ExtraFiles = []*os.File{w}
		err = cmd.Run()
		w.Close()
		got, _ := io.ReadAll(r)
		r.Close()
		if err != nil || string(got) != "to 3\n" {
			t.Errorf("%s: %v, %q", name, err, got)
		}
	}
}

func TestSignalsOnce(t *testing.T) {
	var wg sync.WaitGroup
	for name, as := range people(t) {
		for _, sig := range forwarded {
			if signal.Ignored(sig) { // these tests run under nohup
				continue
			}
			for _, how := range []string{"parent", "group", "group parent"} {
				cmd := program(t, as, lineVar+"=count signals")
				wg.Go(func() {
					s := sig.(syscall.Signal)
					want := strings.Repeat(s.String()+"\n", len(strings.Fields(how)))
					got := countDelivered(t, cmd, func(cmd *exec.Cmd) { sendSignals(t, cmd.Process.Pid, s, how) })
					if got != want {
						t.Errorf("%s: %s to %s: the build got %q", name, s, how, got)
					}
				})
			}
		}
	}
	wg.Wait()
}

// sendSignals sends one signal to each of the places, with a pause between.
func sendSignals(t *testing.T, pid int, s syscall.Signal, places string) {
	for i, place := range strings.Fields(places) {
		time.Sleep(time.Duration(i) * 700 * time.Millisecond)
		to := map[string]int{"parent": pid, "group": -pid}[place]
		if err := syscall.Kill(to, s); err != nil {
			t.Error(err)
		}
	}
}

// countDelivered starts a counting build as the leader of a process group, does
// the deed when it is ready, and gives what it printed.
func countDelivered(t *testing.T, cmd *exec.Cmd, deed func(*exec.Cmd)) string {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if !cmd.SysProcAttr.Setsid {
		cmd.SysProcAttr.Setpgid = true
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); line != "ready\n" {
		t.Errorf("%q: %v", line, err)
	}
	deed(cmd)
	got, _ := io.ReadAll(r)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	return string(got)
}

// TestTerminal types ^C and ^\ at a real terminal.
func TestTerminal(t *testing.T) {
	var wg sync.WaitGroup
	for name, as := range people(t) {
		for key, want := range map[string]string{"\x03": "interrupt\n", "\x1c": "quit\n"} {
			master, slave := terminal(t)
			cmd := program(t, as, lineVar+"=count signals")
			cmd.Stdin = slave
			if cmd.SysProcAttr == nil {
				cmd.SysProcAttr = &syscall.SysProcAttr{}
			}
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
			wg.Go(func() {
				defer master.Close()
				defer slave.Close()
				got := countDelivered(t, cmd, func(*exec.Cmd) {
					if _, err := master.WriteString(key); err != nil {
						t.Error(err)
					}
				})
				if got != want {
					t.Errorf("%s: key %q: the build got %q", name, key, got)
				}
			})
		}
	}
	wg.Wait()
}

func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
