package runner

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names under which this program is started again.
const (
	initName        = "lithify-init"
	sessionInitName = "lithify-session-init"
)

// orderFD is where the init of a command finds its socket.
const orderFD = 3

// Main must be called first thing in main, and in TestMain of tests that use
// this package. When the process is one that the package started for itself
// (argv[0] says so), it does that job and never returns; else it returns at
// once.
func Main() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case initName:
		commandInit()
	case sessionInitName:
		sessionInit()
	}
}

// commandInit is PID 1 of a command's namespaces. It ends with the command,
// and everything else in the namespace with it.
func commandInit() {
	runtime.LockOSThread()
	catchSignals(true)
	// Whatever else the caller had open is not for the tree.
	if err := unix.CloseRange(orderFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.Exit(125)
	}
	parent := os.NewFile(orderFD, "to parent")
	var o order
	if err := receive(parent, &o); err != nil {
		unix.Exit(125) // the parent is gone
	}
	r := o.obey(parent)
	_ = send(parent, r)
	unix.Exit(r.Code)
}

// catchSignals makes this process, an init, survive every signal that can be
// caught. It also brings all dispositions back to the default for what this
// process starts: an ignored signal stays ignored over exec, a caught one does
// not. Those that are ignored now are left alone unless all is set.
func catchSignals(all bool) <-chan os.Signal {
	var list []os.Signal
	for n := syscall.Signal(1); n < 65; n++ {
		if all || !signal.Ignored(n) {
			list = append(list, n)
		}
	}
	c := make(chan os.Signal, 64)
	signal.Notify(c, list...)
	return c
}

// obey sets the tree up, runs the command and reaps until it ends.
func (o order) obey(parent *os.File) report {
	if err := o.enter(); err != nil {
		return failure(err)
	}
	if o.Dir != "" {
		// Here, not in ForkExec, which says ENOENT for a missing folder and a
		// missing program alike.
		if err := os.Chdir(o.Dir); err != nil {
			return failure(fmt.Errorf("entering the working directory: %w", err))
		}
	}
	path, err := lookPath(o.Args[0], o.Env)
	if err != nil {
		return failure(err)
	}
	var child child
	go child.follow(parent)
	if err := child.start(path, o); err != nil {
		return failure(explainStart(path, err))
	}
	status, err := reap(child.pid)
	if err != nil {
		return failure(err)
	}
	code, sig := exitCode(status)
	return report{Code: code, Signal: int(sig)}
}

// enter makes the mounts and the tree the root.
func (o order) enter() error {
	old := unix.Umask(0) // modes in /dev are to be what they are
	defer unix.Umask(old)
	if err := makePrivate(); err != nil {
		return err
	}
	t, err := openTree(o.Root)
	if err != nil {
		return err
	}
	if err := t.system(); err != nil {
		return err
	}
	for _, m := range o.Mounts {
		if err := t.add(m); err != nil {
			return err
		}
	}
	if o.Hostname != "" {
		if err := unix.Sethostname([]byte(o.Hostname)); err != nil {
			return fmt.Errorf("setting the host name %q: %w", o.Hostname, err)
		}
	}
	return t.enter()
}

// child is the command that an init runs.
type child struct {
	mu     sync.Mutex
	pid    int
	group  bool // the child leads a process group
	ending bool // asked to end before it was started
}

// start starts the command. The caller's thread is locked: its signal mask is
// the child's.
func (c *child) start(path string, o order) error {
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return errors.New("cancelled")
	}
	var pid int
	err := whileBusy(func() (err error) {
		pid, err = syscall.ForkExec(path, o.Args, &syscall.ProcAttr{
			Env: o.Env, Files: []uintptr{0, 1, 2},
			Sys: &syscall.SysProcAttr{Setsid: o.OwnSession},
		})
		return err
	})
	c.pid, c.group = pid, o.OwnSession
	return err
}

// follow hands on the signals that the parent asks for, one byte each, and
// ends the namespace when the parent is gone.
func (c *child) follow(parent *os.File) {
	var b [1]byte
	for {
		if _, err := parent.Read(b[:]); err != nil {
			unix.Exit(128 + int(unix.SIGKILL))
		}
		c.signal(syscall.Signal(b[0]))
	}
}

func (c *child) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.pid == 0:
		c.ending = true
	case c.group:
		_ = unix.Kill(-c.pid, s)
	default:
		_ = unix.Kill(c.pid, s)
	}
}

// reap waits for all children, own and adopted, until pid has ended.
func reap(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		p, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the command: %w", err)
		case p == pid:
			return status, nil
		}
	}
}
