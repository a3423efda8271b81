package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const self = "/proc/self/exe"

// order is what the init of a command is told.
type order struct {
	Root       string
	Args, Env  []string
	Dir        string
	Hostname   string
	Mounts     []Mount
	OwnSession bool
}

// runInTree starts an init in new namespaces, tells it what to do, and waits
// for its report.
func runInTree(ctx context.Context, c Command) (err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("running %q in %q: %w", c.Args, c.Root, err)
	}
	defer ours.Close()
	cmd := &exec.Cmd{
		Path: self, Args: []string{initName}, Env: []string{}, Dir: "/",
		Stdout: c.Stdout, Stderr: c.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	// The parent-death signal comes when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = start(cmd, c.Stdin)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("making namespaces for %q: %w", c.Args, err)
	}
	// A failing send means that the init is gone; its report says why.
	_ = send(ours, order{c.Root, c.Args, c.Env, c.Dir, c.Hostname, c.Mounts, c.ownSession()})
	cancelled := onCancel(ctx,
		func() { _, _ = ours.Write([]byte{byte(unix.SIGTERM)}) },
		func() { _ = cmd.Process.Kill() })
	var r report
	reported := receive(ours, &r)
	waited := cmd.Wait()
	if cancelled() {
		return fmt.Errorf("running %q in %q: %w", c.Args, c.Root, context.Cause(ctx))
	}
	return result(c, r, reported, waited)
}

// result makes one error of an init's report and of waiting for it.
func result(c Command, r report, reported, waited error) error {
	var exit *exec.ExitError
	if !errors.As(waited, &exit) && waited != nil {
		return fmt.Errorf("copying the output of %q in %q: %w", c.Args, c.Root, waited)
	}
	if reported != nil {
		return fmt.Errorf("running %q in %q: its init ended without a report (%v): %w", c.Args, c.Root, waited, reported)
	}
	if err := r.err(); err != nil {
		return fmt.Errorf("running %q in %q: %w", c.Args, c.Root, err)
	}
	return exitError(c.Args, r.Code, syscall.Signal(r.Signal))
}

// runHere runs a command in the caller's namespaces.
func runHere(ctx context.Context, c Command) error {
	path, err := lookPath(c.Args[0], c.Env)
	if err != nil {
		return fmt.Errorf("running %q: %w", c.Args, err)
	}
	own := c.ownSession()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cmd *exec.Cmd
	err = whileBusy(func() error {
		cmd = &exec.Cmd{
			Path: path, Args: c.Args, Env: append([]string{}, c.Env...), Dir: c.Dir,
			Stdout: c.Stdout, Stderr: c.Stderr,
			WaitDelay:   grace, // a daemon may hold the pipe for ever
			SysProcAttr: &syscall.SysProcAttr{Setsid: own, Pdeathsig: syscall.SIGKILL},
		}
		return startUnblocked(cmd, c.Stdin)
	})
	if err != nil {
		return fmt.Errorf("running %q: %w", c.Args, explainStart(path, err))
	}
	group := -cmd.Process.Pid
	if !own {
		group = cmd.Process.Pid
	}
	cancelled := onCancel(ctx,
		func() { _ = unix.Kill(group, unix.SIGTERM) },
		func() { _ = unix.Kill(group, unix.SIGKILL) })
	awaitZombie(cmd.Process.Pid)
	ended := cancelled()
	if ended {
		// What the group left behind ends now, not after the grace. The zombie
		// still holds the group's id, so this hits nobody else.
		_ = unix.Kill(group, unix.SIGKILL)
	}
	waited := cmd.Wait()
	if ended {
		return fmt.Errorf("running %q: %w", c.Args, context.Cause(ctx))
	}
	return waitResult(c.Args, cmd.ProcessState, waited)
}

// whileBusy tries a start again while the file is busy: a process that another
// goroutine forked a moment ago holds the descriptor through which the file was
// written, until its own exec (golang.org/issue/22315).
func whileBusy(start func() error) error {
	for try := 0; ; try++ {
		err := start()
		if !errors.Is(err, syscall.ETXTBSY) || try == 100 {
			return err
		}
		time.Sleep(time.Duration(1+try) * time.Millisecond)
	}
}

// awaitZombie waits until the child has ended and leaves it to be waited for.
func awaitZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// waitResult turns what os/exec says into what Run says.
func waitResult(args []string, state *os.ProcessState, waited error) error {
	var exit *exec.ExitError
	if waited != nil && !errors.As(waited, &exit) && !errors.Is(waited, exec.ErrWaitDelay) {
		return fmt.Errorf("copying the output of %q: %w", args, waited)
	}
	status := state.Sys().(syscall.WaitStatus)
	code, sig := exitCode(status)
	return exitError(args, code, sig)
}

func exitCode(s syscall.WaitStatus) (code int, sig syscall.Signal) {
	if s.Signaled() {
		return 128 + int(s.Signal()), s.Signal()
	}
	return s.ExitStatus(), 0
}

// start starts cmd with the given standard input. A reader that is no file is
// copied by a goroutine that Wait does not wait for: a command that ends
// without reading must not be held up by it.
func start(cmd *exec.Cmd, stdin io.Reader) error {
	if f, ok := stdin.(*os.File); ok || stdin == nil {
		if f != nil {
			cmd.Stdin = f
		}
		return cmd.Start()
	}
	w, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(w, stdin)
		_ = w.Close()
	}()
	return nil
}

// startUnblocked is start with no signal blocked in the child. The caller's
// thread must be locked.
func startUnblocked(cmd *exec.Cmd, stdin io.Reader) error {
	var none, old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &old); err != nil {
		return err
	}
	err := start(cmd, stdin)
	return errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
}

// onCancel calls term when ctx ends and kill after the grace. The function it
// returns ends the watch and says whether ctx had ended before.
func onCancel(ctx context.Context, term, kill func()) (cancelled func() bool) {
	return onCancelAfter(ctx, grace, term, kill)
}

func onCancelAfter(ctx context.Context, grace time.Duration, term, kill func()) (cancelled func() bool) {
	var mu sync.Mutex
	var timer *time.Timer
	over := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return // the command is gone: its id may be another's by now
		}
		term()
		timer = time.AfterFunc(grace, kill)
	})
	return func() bool {
		stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
		if timer != nil {
			timer.Stop()
		}
		return timer != nil
	}
}

// lookPath finds a command as Command.Args says, in the tree that is / now.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := dir + "/" + name
		if !strings.HasPrefix(dir, "/") {
			continue // a relative folder depends on where one stands
		}
		if s, err := os.Stat(file); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("looking for %q in %q: %w", name, path, syscall.ENOENT)
}

// explainStart names the interpreter when that is what is missing: the kernel
// says only that something does not exist.
func explainStart(path string, err error) error {
	if errors.Is(err, syscall.ENOENT) {
		if line := shebang(path); line != "" {
			return fmt.Errorf("starting %q: its interpreter %q: %w", path, line, syscall.ENOENT)
		}
	}
	return fmt.Errorf("starting %q: %w", path, err)
}

// shebang returns what follows #! in the first line of a script.
func shebang(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	interp, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return ""
	}
	return strings.TrimSpace(interp)
}
