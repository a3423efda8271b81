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

// snapshot is what lstat says of everything in a tree, access times left out.
func snapshot(t *testing.T, tree string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(tree, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Fprintln(&b, name, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTreeUntouched(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	write(t, filepath.Join(host, "f"), "host\n", 0o644)
	before := snapshot(t, tree)
	line := "cat /etc/file /dev/extra/f; ls /mnt; touch /dev/shm/x /dev/y"
	out, err := sh(t, tree, line,
		Mount{Source: filepath.Join(host, "f"), Target: "/etc/file"},
		Mount{Source: host, Target: "/dev/extra"},
		Mount{Empty: true, Target: "/mnt"},
		Mount{Source: host, Target: "/not/there", Optional: true})
	if err != nil || out != "host\nhost\n" {
		t.Errorf("%q, %v", out, err)
	}
	if after := snapshot(t, tree); after != before {
		t.Errorf("the tree changed:\n%s\n%s", before, after)
	}
	// Folders that are not there are not made.
	for _, d := range []string{"proc", "sys"} {
		if err := os.Remove(filepath.Join(tree, d)); err != nil {
			t.Fatal(err)
		}
	}
	before = snapshot(t, tree)
	if out, err := sh(t, tree, "ls -d /proc /sys 2>/dev/null"); code(err) != 1 || out != "" {
		t.Errorf("without /proc and /sys: %q, %v", out, err)
	}
	if after := snapshot(t, tree); after != before {
		t.Error("the tree without /proc and /sys changed")
	}
}

func TestDev(t *testing.T) {
	tree := busyboxTree(t)
	hostNull, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"ls /dev": "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
		"for f in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$f; done": "/dev/null 1:3 666\n/dev/zero 1:5 666\n" +
			"/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666\n",
		"echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c": "3\n5\n",
		"echo x > /dev/full || echo full":                                                 "sh: write error: No space left on device\nfull\n",
		"stat -c %a /dev/shm /dev/pts /dev; ls /dev/pts":                                  "1777\n755\n755\nptmx\n",
		"echo a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/fd/1":                  "a\nb\nc\n",
		"chmod 600 /dev/null; stat -c %a /dev/null":                                       "600\n",
		"touch /sys/x 2>/dev/null || echo ro":                                             "ro\n",
		"test -e /sys/kernel && echo sys":                                                 "sys\n",
		"exec 3<>/dev/ptmx && ls /dev/pts":                                                "0\nptmx\n",
	} {
		if got, err := sh(t, tree, line); got != want {
			t.Errorf("%s: %q, want %q (%v)", line, got, want, err)
		}
	}
	if now, err := os.Stat("/dev/null"); err != nil || now.Mode() != hostNull.Mode() {
		t.Errorf("the host's /dev/null changed: %v %v", now, err)
	}
}

func TestOwnNamespaces(t *testing.T) {
	tree := busyboxTree(t)
	out, err := sh(t, tree, "echo $PPID; ls -d /proc/[0-9]* | wc -l; ipcmk -Q >/dev/null 2>&1; hostname inner; mount -t tmpfs x /mnt; tr '\\0' ' ' </proc/1/cmdline")
	if err != nil || out != "1\n4\nlithify-init " {
		t.Errorf("%q, %v", out, err)
	}
	if name, _ := os.Hostname(); name == "inner" {
		t.Error("the host's name changed")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), tree) {
		t.Errorf("mounts on the host: %v\n%s", err, mounts)
	}
	for _, ns := range []string{"mnt", "pid", "ipc", "uts"} {
		host, _ := os.Readlink("/proc/self/ns/" + ns)
		if in, err := sh(t, tree, "readlink /proc/self/ns/"+ns); err != nil || strings.TrimSpace(in) == host {
			t.Errorf("%s: %q %v", ns, in, err)
		}
	}
}

func TestMounts(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	write(t, filepath.Join(host, "f"), "host\n", 0o644)
	secret := openDir(t)
	// A link that leads out, absolute and by dots, and one within.
	for name, to := range map[string]string{
		"out": secret, "dots": "../../../../../../.." + secret, "in": "/mnt/deep", "proc1": "/proc/1/root/mnt",
	} {
		if err := os.Symlink(to, filepath.Join(tree, "etc", name)); err != nil {
			t.Fatal(err)
		}
	}
	rw := Mount{Source: host, Target: "/mnt"}
	for _, c := range []struct {
		name, line, want string
		m                []Mount
		fails            bool
	}{
		{"bind", "cat /mnt/f; touch /mnt/g && echo ok", "host\nok\n", []Mount{rw}, false},
		{"read-only", "cat /mnt/f; touch /mnt/h 2>/dev/null || echo ro", "host\nro\n", []Mount{{Source: host, Target: "/mnt", ReadOnly: true}}, false},
		{"file", "cat /etc/file", "host\n", []Mount{{Source: host + "/f", Target: "/etc/file"}}, false},
		{"mask", "ls -A /bin | wc -l", "", []Mount{{Empty: true, Target: "/bin"}}, true},
		{"mask is read-only", "ls -A /etc; touch /etc/x 2>/dev/null || echo ro", "ro\n", []Mount{{Empty: true, Target: "/etc"}}, false},
		{"order", "ls /mnt", "f\ng\n", []Mount{{Empty: true, Target: "/mnt"}, rw}, false},
		{"optional", "ls -A /mnt", "deep\n", []Mount{{Source: host, Target: "/gone/x", Optional: true}}, false},
		{"optional under a file", "ls -A /mnt", "deep\n", []Mount{{Source: host, Target: "/etc/file/x", Optional: true}}, false},
		{"link inside", "cat /mnt/deep/f", "host\n", []Mount{{Source: host, Target: "/etc/in"}}, false},
		{"link outside", "", "", []Mount{{Source: host, Target: "/etc/out"}}, true},
		{"dots outside", "", "", []Mount{{Source: host, Target: "/etc/dots"}}, true},
		{"dots in the target", "cat /mnt/f", "host\n", []Mount{{Source: host, Target: "/../../mnt"}}, false},
		{"link through proc", "", "", []Mount{{Source: host, Target: "/etc/proc1"}}, true},
		{"in dev", "cat /dev/a/b/c", "host\n", []Mount{{Source: host + "/f", Target: "/dev/a/b/c"}}, false},
		{"a folder on a file", "", "", []Mount{{Source: host, Target: "/etc/file"}}, true},
	} {
		got, err := sh(t, tree, c.line, c.m...)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if left, _ := os.ReadDir(secret); len(left) > 0 {
		t.Error("something came out of the tree")
	}
}

// TestMountsBelow: what is mounted below the source or the tree comes along,
// and read-only holds for it too.
func TestMountsBelow(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	for _, at := range []string{filepath.Join(host, "sub"), filepath.Join(tree, "tmp")} {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// At once and without MNT_DETACH: nothing may hold it.
			if err := syscall.Unmount(at, 0); err != nil {
				t.Errorf("unmounting %s: %v", at, err)
			}
		})
		write(t, filepath.Join(at, "f"), "below\n", 0o644)
	}
	out, err := sh(t, tree, "cat /tmp/f /mnt/sub/f; touch /mnt/sub/g 2>/dev/null || echo ro; touch /tmp/g && echo rw",
		Mount{Source: host, Target: "/mnt", ReadOnly: true})
	if err != nil || out != "below\nbelow\nro\nrw\n" {
		t.Errorf("%q, %v", out, err)
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
			{"handled", "trap 'echo bye; exit 0' TERM; echo on; sleep 1000", 0, "bye\n"},
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
		if err != nil || string(out) != want {
			t.Errorf("root %q: %v\n%s", root, err, out)
		}
	}
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
