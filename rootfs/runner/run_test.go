package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestExitCodes(t *testing.T) {
	tree := busyboxTree(t)
	for _, root := range []string{tree, ""} {
		for line, want := range map[string]int{
			"exit 0": 0, "exit 1": 1, "exit 7": 7, "/etc/file": 126, "no-such-command": 127, "exit 255": 255,
			"kill -KILL $$": 137, "kill -TERM $$": 143, "kill -SEGV $$": 139, "exit 130": 130,
		} {
			_, err := sh(t, root, line)
			if strings.Contains(line, "/etc/file") && root == "" {
				continue
			}
			if code(err) != want {
				t.Errorf("root %q: %s: %v, want code %d", root, line, err, want)
			}
			var exit *ExitError
			signalled := errors.As(err, &exit) && exit.Signal != 0
			if signalled != strings.HasPrefix(line, "kill") {
				t.Errorf("root %q: %s: signal in %v", root, line, err)
			}
		}
	}
}

func TestStartErrors(t *testing.T) {
	tree := busyboxTree(t)
	write(t, filepath.Join(tree, "etc/script"), "#!/no/such/shell -e\n", 0o755)
	write(t, filepath.Join(tree, "etc/plain"), "true\n", 0o644)
	bare := filepath.Join(openDir(t), "bare")
	if err := os.MkdirAll(filepath.Join(bare, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		c    Command
		is   error
		says string
	}{
		{Command{Root: tree, Args: []string{"nothing"}, Env: testEnv}, fs.ErrNotExist, `"nothing"`},
		{Command{Root: tree, Args: []string{"/nothing"}}, fs.ErrNotExist, `"/nothing"`},
		{Command{Root: tree, Args: []string{"/etc/script"}}, fs.ErrNotExist, `"/no/such/shell -e"`},
		{Command{Root: tree, Args: []string{"/etc/plain"}}, fs.ErrPermission, `"/etc/plain"`},
		{Command{Root: tree, Args: []string{"true"}, Dir: "/gone"}, fs.ErrNotExist, "/gone"},
		{Command{Root: tree + "x", Args: []string{"true"}}, fs.ErrNotExist, tree + "x"},
		{Command{Root: bare, Args: []string{"true"}}, fs.ErrNotExist, "/dev"},
		{Command{Root: "/", Args: []string{"true"}}, nil, "other than /"},
		{Command{Root: "rel", Args: []string{"true"}}, nil, "absolute"},
		{Command{Root: tree}, nil, "no command"},
		{Command{Args: []string{"nothing"}, Env: testEnv}, fs.ErrNotExist, `"nothing"`},
		{Command{Args: []string{"true"}, Hostname: "x"}, nil, "need a root"},
		{Command{Root: tree, Args: []string{"true"}, Mounts: []Mount{{Source: tree, Target: "/no"}}}, fs.ErrNotExist, `"/no"`},
		{Command{Root: tree, Args: []string{"true"}, Mounts: []Mount{{Source: "/no/src", Target: "/mnt"}}}, fs.ErrNotExist, `"/no/src"`},
	} {
		err := Run(context.Background(), c.c)
		if err == nil || code(err) != -1 || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: got %v, want it to say %s", c.c, err, c.says)
		}
	}
}

func TestEnvironmentArgumentsFolder(t *testing.T) {
	tree := busyboxTree(t)
	var out strings.Builder
	c := Command{
		Root: tree, Args: []string{"sh", "-c", `env; echo "$0 $1"; pwd; hostname; cat`, "a b", "\xff"},
		Env: testEnv, Dir: "/mnt/deep", Hostname: "lithic", Stdin: strings.NewReader("from stdin"), Stdout: &out,
	}
	if err := Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]string{"a b \xff", "/mnt/deep", "lithic\nfrom stdin"}, testEnv...) {
		if !strings.Contains(out.String(), want+"\n") && !strings.HasSuffix(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
	if strings.Contains(out.String(), markVar) || strings.Count(out.String(), "=") > 6 {
		t.Errorf("more environment than given: %q", out.String())
	}
	// No stdin is an empty one, also for a reader that never ends.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if err := Run(context.Background(), Command{Root: tree, Args: []string{"true"}, Env: testEnv, Stdin: onlyReader{r}}); err != nil {
		t.Error(err)
	}
	if got, err := sh(t, tree, "cat; readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"); err != nil || got != "/dev/null\n4\n" {
		t.Errorf("without stdin: %q, %v", got, err)
	}
}

type onlyReader struct{ f *os.File }

func (r onlyReader) Read(b []byte) (int, error) { return r.f.Read(b) }

func TestNothingSurvives(t *testing.T) {
	tree := busyboxTree(t)
	mark := fmt.Sprintf("MARK=survive-%d", os.Getpid())
	line := `sleep 1000 & setsid sleep 1000 & (setsid sh -c 'trap "" TERM HUP; sleep 1000 & sleep 1000' &) ; echo out; exit 3`
	var out bytes.Buffer
	start := time.Now()
	err := Run(context.Background(), Command{
		Root: tree, Args: []string{"sh", "-c", line}, Env: append([]string{mark}, testEnv...), Stdout: &out, Stderr: &out,
	})
	if code(err) != 3 || out.String() != "out\n" {
		t.Errorf("%v, output %q", err, out.String())
	}
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s: waited for the daemons", took)
	}
}

// TestOrphans makes many orphans that end on their own: the init must reap
// them and still give the exact code.
func TestOrphans(t *testing.T) {
	tree := busyboxTree(t)
	line := `i=0; while [ $i -lt 100 ]; do (sh -c 'exit 9' &) ; i=$((i+1)); done; sleep 0.3; ps -o stat,pid | grep -c ^Z; exit 5`
	out, err := sh(t, tree, line)
	if code(err) != 5 || out != "0\n" {
		t.Errorf("%v, zombies: %q", err, out)
	}
}

func TestCancel(t *testing.T) {
	tree := busyboxTree(t)
	cause := errors.New("because")
	for _, root := range []string{tree, ""} {
		for _, c := range []struct {
			name, line string
			least      time.Duration
			says       string
		}{
			{"default", "echo on; sleep 1000", 0, ""},
			{"handled", "trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.1; done", 0, "bye\n"},
			{"stubborn", "trap '' TERM; echo on; sleep 1000; sleep 1000", grace, ""},
		} {
			mark := fmt.Sprintf("MARK=cancel-%d-%s", os.Getpid(), c.name)
			ctx, cancel := context.WithCancelCause(context.Background())
			out := &signalWriter{on: func() { cancel(cause) }}
			start := time.Now()
			err := Run(ctx, Command{Root: root, Args: []string{"sh", "-c", c.line}, Env: append([]string{mark}, testEnv...), Stdout: out})
			took := time.Since(start)
			if !errors.Is(err, cause) || code(err) != -1 {
				t.Errorf("root %q, %s: %v", root, c.name, err)
			}
			if took < c.least || took > c.least+2*time.Second {
				t.Errorf("root %q, %s: took %s", root, c.name, took)
			}
			if out.buf.String() != "on\n"+c.says {
				t.Errorf("root %q, %s: output %q", root, c.name, out.buf.String())
			}
			if left := marked(t, mark); len(left) > 0 {
				t.Errorf("root %q, %s: left over: %q", root, c.name, left)
			}
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := Run(ctx, Command{Root: tree, Args: []string{"true"}}); !errors.Is(err, cause) {
		t.Errorf("cancelled before: %v", err)
	}
}

// TestCancelAnyTime cancels at all stages of the start.
func TestCancelAnyTime(t *testing.T) {
	tree := busyboxTree(t)
	cause := errors.New("because")
	for i := range 30 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Duration(i)*500*time.Microsecond, cause)
		start := time.Now()
		err := Run(ctx, Command{Root: tree, Args: []string{"sleep", "1000"}, Env: testEnv})
		cancel()
		if took := time.Since(start); !errors.Is(err, cause) || took > grace {
			t.Errorf("after %d×0.5 ms: %v in %s", i, err, took)
		}
	}
}

// signalWriter keeps what is written and calls on at the first write.
type signalWriter struct {
	buf  bytes.Buffer
	once sync.Once
	on   func()
}

func (w *signalWriter) Write(b []byte) (int, error) {
	w.once.Do(w.on)
	return w.buf.Write(b)
}

func TestParallel(t *testing.T) {
	tree := busyboxTree(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			out, err := sh(t, tree, fmt.Sprintf("echo %d; exit %d", i, i))
			if code(err) != i || out != fmt.Sprintln(i) {
				t.Errorf("run %d: %q, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func TestLargeOutputAndInput(t *testing.T) {
	tree := busyboxTree(t)
	var out bytes.Buffer
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	big := "BIG=" + strings.Repeat("x", 100_000)
	err := Run(context.Background(), Command{Root: tree, Args: []string{"cat"}, Env: append([]string{big}, testEnv...), Stdin: bytes.NewReader(in), Stdout: &out})
	if err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("%d bytes of %d came back: %v", out.Len(), len(in), err)
	}
}

// TestSignalState starts a caller with ignored and blocked signals; what it
// runs in a tree must have neither.
func TestSignalState(t *testing.T) {
	tree := busyboxTree(t)
	need(t, "env")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{tree, ""} {
		cmd := exec.Command("env", "--ignore-signal=PIPE,HUP,INT,USR1,TSTP", "--block-signal=USR2,TERM", exe)
		cmd.Env = append(os.Environ(), roleVar+"=run words", treeVar+"="+root, lineVar+"=grep Sig[BI] /proc/self/status")
		out, err := cmd.CombinedOutput()
		want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
		if root == "" {
			// Outside, what the user asked for by nohup stays: HUP, INT; and ^Z.
			want = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000080003\n"
		}
		if err != nil || withoutLibrarySignals(string(out)) != want {
			t.Errorf("root %q: %v\n%s", root, err, out)
		}
	}
}

// withoutLibrarySignals takes signals 32 and 33 out of the masks: they are the
// C library's own, Go leaves them as it finds them, and whoever started the
// tests may have them ignored.
func withoutLibrarySignals(status string) string {
	var out strings.Builder
	for line := range strings.Lines(status) {
		name, mask, _ := strings.Cut(strings.TrimSpace(line), "\t")
		bits, err := strconv.ParseUint(mask, 16, 64)
		if err != nil {
			return status
		}
		fmt.Fprintf(&out, "%s\t%016x\n", name, bits&^(3<<31))
	}
	return out.String()
}

// TestOutsideDaemon: a process that a hook outside leaves behind lives on, and
// holds nobody up for long.
func TestOutsideDaemon(t *testing.T) {
	need(t, "setsid")
	var out bytes.Buffer
	start := time.Now()
	err := Run(context.Background(), Command{Args: []string{"sh", "-c", "setsid sleep 8 & echo $!; exit 4"}, Env: testEnv, Stdout: &out})
	if took := time.Since(start); code(err) != 4 || took > 5*time.Second {
		t.Errorf("%v after %s", err, took)
	}
	var pid int
	if _, err := fmt.Sscan(out.String(), &pid); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the daemon: %v", err)
	}
	kill(t, pid, syscall.SIGKILL)
}

// TestCallerKilled kills a process in the middle of Run.
func TestCallerKilled(t *testing.T) {
	tree := busyboxTree(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		mark := fmt.Sprintf("killed-%d-%d", os.Getpid(), i)
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), roleVar+"=run", treeVar+"="+tree, markVar+"="+mark,
			lineVar+"=trap '' TERM HUP; setsid sleep 1000 & sleep 1000 & sleep 1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i*i) * 500 * time.Microsecond)
		kill(t, cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		eventually(t, "no process left", func() bool { return len(marked(t, mark)) == 0 && len(inits(t, tree)) == 0 })
	}
}

// inits lists the inits that have the tree as their root, or are on the way.
func inits(t *testing.T, tree string) []string {
	return processes(t, func(dir string) bool {
		root, _ := os.Readlink(dir + "/root")
		return root == tree
	})
}

func BenchmarkRunTrue(b *testing.B) {
	tree := busyboxTree(b)
	for b.Loop() {
		if err := Run(context.Background(), Command{Root: tree, Args: []string{"true"}, Env: testEnv}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTrue is the same command without the runner.
func BenchmarkTrue(b *testing.B) {
	tree := busyboxTree(b)
	for b.Loop() {
		if err := exec.Command(tree + "/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTerminalStdin: a command with a terminal stays in the caller's group, to
// be used from there; every other is cut off.
func TestTerminalStdin(t *testing.T) {
	tree := busyboxTree(t)
	master, slave := terminal(t)
	defer master.Close()
	defer slave.Close()
	for _, stdin := range []*os.File{nil, slave} {
		var out strings.Builder
		c := Command{Root: tree, Args: []string{"cut", "-d ", "-f5", "/proc/self/stat"}, Env: testEnv, Stdout: &out}
		if stdin != nil {
			c.Stdin = stdin
		}
		err := Run(context.Background(), c)
		// The number of a group from outside the PID namespace is 0.
		if err != nil || (out.String() == "0\n") != (stdin != nil) {
			t.Errorf("terminal %t: group %q, %v", stdin != nil, out.String(), err)
		}
	}
}

// TestBusyFile starts a script that somebody has open for writing for a moment,
// as a fork of another goroutine does.
func TestBusyFile(t *testing.T) {
	tree := busyboxTree(t)
	for _, root := range []string{tree, ""} {
		script := filepath.Join(tree, "etc/busy")
		write(t, script, "#!/bin/sh\nexit 7\n", 0o755)
		f, err := os.OpenFile(script, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"/etc/busy"}
		if root == "" {
			args[0] = script
		}
		time.AfterFunc(50*time.Millisecond, func() { _ = f.Close() })
		if err := Run(t.Context(), Command{Root: root, Args: args, Env: testEnv}); code(err) != 7 {
			t.Errorf("root %q: %v, want code 7", root, err)
		}
	}
}
