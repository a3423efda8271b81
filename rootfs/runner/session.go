package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the environment variable by which a build knows that it is in its
// session; its value is the session's PID namespace, so that a left-over one
// deceives nobody. Enter removes it.
const marker = "LITHIFY_SESSION"

// sessionGrace is how long a build has to end in order when Enter's ctx ends.
const sessionGrace = 10 * time.Second

// forwarded are the signals that the first process hands on to the build.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT}

// Session is the build's own set of namespaces: mount and PID, and user where
// that is needed. The zero value works.
type Session struct {
	Logger *slog.Logger // nil is silent
	// User forces a user namespace. Without it one is made for everybody but
	// root, and for root without CAP_SYS_ADMIN (in a container).
	User bool
	// Detach makes ctx count only until Enter listens for signals itself: for a
	// ctx that ends by the signals that Enter hands on.
	Detach bool
}

// KilledError says that a signal ended the build, which so had no chance to say
// anything.
type KilledError struct{ Signal syscall.Signal }

func (e *KilledError) Error() string {
	text := fmt.Sprintf("the build was ended by signal %d (%v)", int(e.Signal), e.Signal)
	if e.Signal == unix.SIGKILL {
		text += "; that is what the kernel does when memory runs out: dmesg tells"
	}
	return text
}

// admission is what the first process tells the session's init when the ids
// are mapped.
type admission struct {
	User     bool
	UID, GID int // of the first process, for the libraries of containers/storage
}

// Enter starts the program again in a session of its own. It must be called
// early, by the goroutine of main, before other processes are started.
//
// In the first process it waits and gives (exit code, false, nil); nothing of
// the session is left by then. When signal n ended the build, that is (128+n,
// false, *KilledError). Any other error means that no build was started. In the build, which has the same arguments,
// environment, working directory and open files, it gives (0, true, nil) at
// once.
//
// SIGINT, SIGTERM, SIGHUP and SIGQUIT sent to the first process reach the build
// once. When ctx ends the build gets SIGTERM, and ten seconds later the session
// is killed; ctx should not be one that ends by the signals above, or Detach be
// set.
//
// In a user namespace that Enter made, _CONTAINERS_USERNS_CONFIGURED and
// _CONTAINERS_ROOTLESS_UID and _GID are set, by which containers/storage knows.
//
// Errors that a user can mend are *NoSubIDError, *MissingToolError and
// *NoUserNamespaceError.
func (s Session) Enter(ctx context.Context) (code int, inside bool, err error) {
	if inSession() {
		return 0, true, nil
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	signals := make(chan os.Signal, 16)
	for _, sig := range forwarded {
		if !signal.Ignored(sig) { // nohup
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)
	if s.Detach {
		if ctx.Err() != nil {
			return 0, false, fmt.Errorf("starting the session: %w", context.Cause(ctx))
		}
		ctx = context.WithoutCancel(ctx)
	}
	// The parent-death signal comes when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := s.start()
	if err != nil {
		return 0, false, err
	}
	code, err = p.wait(ctx, signals)
	return code, false, err
}

// inSession says whether this process is a build in its session, and removes
// the mark of it.
func inSession() bool {
	want, ok := os.LookupEnv(marker)
	if !ok {
		return false
	}
	_ = os.Unsetenv(marker)
	have, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && have == want
}

// parent is the first process's view of its session.
type parent struct {
	init *os.Process
	link *os.File
	user bool
}

// start starts the session's init, maps its ids, and lets it go on.
func (s Session) start() (*parent, error) {
	user := s.User || os.Geteuid() != 0 || !hasCap(unix.CAP_SYS_ADMIN)
	var maps idMaps
	if user {
		var err error
		if maps, err = planMaps(os.Geteuid(), os.Getegid()); err != nil {
			return nil, err
		}
	}
	p, err := startSessionInit(user)
	if err != nil {
		return nil, err
	}
	s.Logger.Debug("session started", "init", p.init.Pid, "user namespace", user, "uids", maps.uid, "gids", maps.gid)
	if user {
		if err := maps.write(p.init.Pid); err != nil {
			return nil, errors.Join(forbidden(err), p.drop())
		}
	}
	// A failing send means that the init is gone; waiting for it says why.
	_ = send(p.link, admission{User: user, UID: os.Geteuid(), GID: os.Getegid()})
	return p, nil
}

// startSessionInit starts the init, which waits for its admission.
func startSessionInit(user bool) (*parent, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("starting the session: %w", err)
	}
	defer theirs.Close()
	// The number is handed over, not a fixed 3: the caller's open files (a job
	// server of make) keep theirs. A process started meanwhile elsewhere would
	// inherit it; that harms nothing, as only our end's closing counts.
	fd, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the session: %w", err), ours.Close())
	}
	defer unix.Close(fd)
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if user {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		// Until it is mapped the init is nobody and would lose everything on exec.
		attr.AmbientCaps = []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_ADMIN}
	}
	init, err := os.StartProcess(self, append([]string{sessionInitName, strconv.Itoa(fd)}, os.Args...), &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil {
		if user {
			err = forbidden(err)
		}
		return nil, errors.Join(fmt.Errorf("starting the session: %w", err), ours.Close())
	}
	return &parent{init: init, link: ours, user: user}, nil
}

// drop ends a session that came to nothing.
func (p *parent) drop() error {
	_ = p.init.Kill()
	_, err := p.init.Wait()
	return errors.Join(err, p.link.Close())
}

// wait hands signals on until the init has ended.
func (p *parent) wait(ctx context.Context, signals <-chan os.Signal) (int, error) {
	defer p.link.Close()
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case sig := <-signals:
				_, _ = p.link.Write([]byte{byte(sig.(syscall.Signal))})
			case <-over:
				return
			}
		}
	}()
	cancelled := onCancelAfter(ctx, sessionGrace,
		func() { _, _ = p.link.Write([]byte{byte(unix.SIGTERM)}) },
		func() { _ = p.init.Kill() })
	state, err := p.init.Wait()
	cancelled()
	if err != nil {
		return 0, fmt.Errorf("waiting for the session: %w", err)
	}
	code, sig := exitCode(state.Sys().(syscall.WaitStatus))
	var r report
	if receive(p.link, &r) == nil {
		sig = syscall.Signal(r.Signal)
	}
	if r.Text != "" {
		err := fmt.Errorf("starting the session: %w", r.err())
		if p.user {
			err = forbidden(err)
		}
		return 0, err
	}
	if sig != 0 {
		return code, &KilledError{sig}
	}
	return code, nil
}

// hasCap says whether this thread has a capability.
func hasCap(c int) bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return false
	}
	return d[c/32].Effective&(1<<(c%32)) != 0
}
