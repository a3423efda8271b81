package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a cancelled command has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// Command is one command to run in a tree. The zero value of every field but
// Args works.
type Command struct {
	// Root is the absolute path of the tree that becomes /. When it is empty
	// the command runs in the caller's namespaces (a hook outside the target).
	Root string
	// Args is the command line. Args[0] is a path inside Root when it has a
	// slash (relative ones start at Dir), else it is looked up in PATH of Env
	// inside Root; without a PATH in the usual four folders.
	Args []string
	// Env is the complete environment; nothing is added.
	Env []string
	// Dir is the working directory inside Root, "/" when empty; with an empty
	// Root the caller's.
	Dir string
	// Stdin is /dev/null when nil. A reader that is no *os.File is read ahead
	// of the command and may be left blocked in a Read after Run has returned.
	// A command whose Stdin is a terminal stays in the caller's process group,
	// so that a shell there can be used; every other has its own session.
	Stdin io.Reader
	// Stdout and Stderr may be the same writer; nil discards.
	Stdout, Stderr io.Writer
	// Hostname is the UTS host name; unchanged when empty.
	Hostname string
	// Mounts are made in order after /proc, /sys (read-only) and /dev.
	Mounts []Mount
}

// Mount is a bind mount, or a mask, that a command sees. It is gone with the
// command.
type Mount struct {
	// Source is an absolute host path, bound with all that is mounted below.
	Source string
	// Target is an absolute path in the tree. Symbolic links in it are
	// followed as the command would, and cannot leave the tree. It must exist,
	// save below /dev, which is the runner's own.
	Target string
	// ReadOnly holds for what is mounted below Source too.
	ReadOnly bool
	// Optional leaves the mount out silently when Target does not exist.
	Optional bool
	// Empty mounts an empty read-only tmpfs; Source is not used.
	Empty bool
}

// ExitError says that the command ran and did not succeed.
type ExitError struct {
	Args   []string
	Code   int            // the exit code; 128+n for signal n
	Signal syscall.Signal // zero when the command ended by itself
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("command %q was ended by signal %d (%s)", e.Args, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("command %q ended with exit code %d", e.Args, e.Code)
}

func exitError(args []string, code int, sig syscall.Signal) error {
	if code == 0 && sig == 0 {
		return nil
	}
	return &ExitError{Args: args, Code: code, Signal: sig}
}

// Run runs the command and waits for it. It is safe for concurrent use.
//
// With a Root the command has its own mount, PID, IPC and UTS namespaces and
// nothing of it survives: a daemon dies with the command, and what it still
// held of Stdout with it. Signals start with their default dispositions and
// none blocked. With an empty Root processes that the command leaves behind
// live on until the session ends (they may be what a hook is for); their
// output is followed for two seconds more, and SIGHUP or SIGINT stay ignored
// when the program was started so.
//
// When ctx ends, the command's process group gets SIGTERM and after two
// seconds everything is killed; the error wraps context.Cause(ctx). A command
// that ran and did not succeed gives an *ExitError; any other error means that
// it was not run, or that its output could not be written.
//
// The program's main must call Main first.
func Run(ctx context.Context, c Command) error {
	if err := c.check(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("running %q: %w", c.Args, context.Cause(ctx))
	}
	if c.Root == "" {
		return runHere(ctx, c)
	}
	return runInTree(ctx, c)
}

func (c Command) check() error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return fmt.Errorf("running a command in %q: no command given", c.Root)
	}
	if c.Root == "" {
		if len(c.Mounts) > 0 || c.Hostname != "" {
			return fmt.Errorf("running %q: mounts and a host name need a root", c.Args)
		}
		return nil
	}
	if !filepath.IsAbs(c.Root) || filepath.Clean(c.Root) == "/" {
		return fmt.Errorf("running %q: the root is %q, it must be an absolute path other than /", c.Args, c.Root)
	}
	for _, m := range c.Mounts {
		if !filepath.IsAbs(m.Target) || !m.Empty && !filepath.IsAbs(m.Source) {
			return fmt.Errorf("running %q: mounting %q on %q: both must be absolute paths", c.Args, m.Source, m.Target)
		}
	}
	return nil
}

// ownSession says whether the command is to be cut off from the terminal: then
// a ^C ends it through ctx, in order, and not beside it.
func (c Command) ownSession() bool {
	f, ok := c.Stdin.(*os.File)
	if !ok || f == nil {
		return true
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err != nil
}
