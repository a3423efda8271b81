package runner

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sessionInit is PID 1 of a session. Its arguments are its name, the number of
// its socket, and those of the build.
func sessionInit() {
	// The parent-death signal is a property of a thread.
	runtime.LockOSThread()
	own := catchSignals(false) // ^C may come while the ids are being mapped
	if len(os.Args) < 3 {
		unix.Exit(125)
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil {
		unix.Exit(125)
	}
	unix.CloseOnExec(fd)
	link := os.NewFile(uintptr(fd), "to parent")
	var a admission
	if err := receive(link, &a); err != nil {
		unix.Exit(125) // the parent is gone, or has said on its side what failed
	}
	status, err := a.serve(link, own)
	if err != nil {
		r := failure(err)
		_ = send(link, r)
		unix.Exit(r.Code)
	}
	code, sig := exitCode(status)
	if sig != 0 { // an exit code alone may be one that the build chose
		_ = send(link, report{Code: code, Signal: int(sig)})
	}
	unix.Exit(code)
}

// serve prepares the session, runs the build in it and reaps until it ends.
func (a admission) serve(link *os.File, own <-chan os.Signal) (status syscall.WaitStatus, err error) {
	if a.User {
		if err := becomeRoot(); err != nil {
			return 0, err
		}
	}
	// The kernel forgets the death signal at every change of ids. Who watches
	// the socket sees a parent that has died before this line, too; its id
	// would not show it: from another PID namespace it is always 0.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return 0, fmt.Errorf("setting the parent-death signal: %w", err)
	}
	if err := makePrivate(); err != nil {
		return 0, err
	}
	coverProc()
	pid, err := a.startBuild()
	if err != nil {
		return 0, fmt.Errorf("starting the build: %w", err)
	}
	go (&relay{own: own, notices: readNotices(link), pid: pid}).run()
	return reap(pid)
}

// becomeRoot takes id 0 of the new user namespace. The kernel has set the ids
// to "nobody" as long as they were not mapped.
func becomeRoot() error {
	if err := syscall.Setresgid(0, 0, 0); err != nil {
		return fmt.Errorf("becoming root of the user namespace: %w", err)
	}
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return fmt.Errorf("becoming root of the user namespace: %w", err)
	}
	// The ambient capabilities were for this process only. Without inheritable
	// ones there are none; the build gets all as root does, by exec.
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return fmt.Errorf("reading the capabilities: %w", err)
	}
	d[0].Inheritable, d[1].Inheritable = 0, 0
	if err := unix.Capset(&h, &d[0]); err != nil {
		return fmt.Errorf("dropping inheritable capabilities: %w", err)
	}
	return nil
}

// coverProc mounts a proc of the session's PID namespace. Where the kernel
// refuses (a container with a masked /proc), the old one stays.
func coverProc() {
	fd, err := newMount("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	at, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(at)
	_ = attach(fd, at)
}

// startBuild starts the program again as the build.
func (a admission) startBuild() (int, error) {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return 0, err
	}
	add := []string{marker + "=" + ns}
	if a.User {
		add = append(add, "_CONTAINERS_USERNS_CONFIGURED=done",
			"_CONTAINERS_ROOTLESS_UID="+strconv.Itoa(a.UID), "_CONTAINERS_ROOTLESS_GID="+strconv.Itoa(a.GID))
	}
	return syscall.ForkExec(self, os.Args[2:], &syscall.ProcAttr{
		Env: withEnv(os.Environ(), add), Files: []uintptr{0, 1, 2},
	})
}

// withEnv is env with the variables of add in place of those of that name.
func withEnv(env, add []string) []string {
	var list []string
next:
	for _, v := range env {
		for _, a := range add {
			name, _, _ := strings.Cut(a, "=")
			if strings.HasPrefix(v, name+"=") {
				continue next
			}
		}
		list = append(list, v)
	}
	return append(list, add...)
}

// readNotices gives the signals that the parent reports, one byte each, and
// ends the session when the parent is gone.
func readNotices(link *os.File) <-chan syscall.Signal {
	c := make(chan syscall.Signal)
	go func() {
		var b [1]byte
		for {
			n, err := link.Read(b[:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || n == 0 {
				unix.Exit(128 + int(unix.SIGKILL))
			}
			c <- syscall.Signal(b[0])
		}
	}()
	return c
}

const (
	// witnessed is how long a signal of our own counts for the parent's report
	// of the same.
	witnessed = time.Second
	// witnessWait is how long our own may come after that report.
	witnessWait = 200 * time.Millisecond
)

// relay decides which of the signals that the parent got the build must still
// get. A terminal (or kill with a group) signals the whole process group:
// parent, init and build. The init is in the same group as the build and so is
// a witness: what it got itself about the same time, the build has got too.
// What only the parent got is handed on.
type relay struct {
	own     <-chan os.Signal
	notices <-chan syscall.Signal
	pid     int // the build
}

func (r *relay) run() {
	seen := map[syscall.Signal]time.Time{}
	waiting := map[syscall.Signal]*time.Timer{}
	due := make(chan syscall.Signal)
	for {
		select {
		case s := <-r.own:
			sig := s.(syscall.Signal)
			if t := waiting[sig]; t != nil && t.Stop() {
				delete(waiting, sig)
				continue
			}
			seen[sig] = time.Now()
		case sig := <-r.notices:
			at, ok := seen[sig]
			delete(seen, sig)
			if ok && time.Since(at) < witnessed || waiting[sig] != nil {
				continue
			}
			waiting[sig] = time.AfterFunc(witnessWait, func() { due <- sig })
		case sig := <-due:
			delete(waiting, sig)
			_ = unix.Kill(r.pid, sig)
		}
	}
}
