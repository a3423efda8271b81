package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/lithify/lithify/rootfs/runner"
	"github.com/spf13/pflag"
)

// sudoRequest is what a sudo command line asks for.
type sudoRequest struct {
	user, group      string
	home, list, auth bool // -H; -l; -v, -k and -K without a command
	login, shell     bool
	dir              string
	variables        []string // NAME=value before the command
	command          []string
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// parseSudo reads the options that hooks use. What they are there to get past
// (a password, a terminal, an environment that is cleared) does not exist here.
func parseSudo(args []string) (c sudoRequest, err error) {
	flags := flagsFor("sudo", "[options] [NAME=value...] COMMAND...", io.Discard)
	flags.SetInterspersed(false)
	for name, short := range map[string]string{"preserve-groups": "P", "non-interactive": "n", "stdin": "S", "background": "b", "askpass": "A", "bell": "B"} {
		flags.BoolP(name, short, false, "nothing to do here")
	}
	flags.StringP("preserve-env", "E", "", "the environment is kept in any case")
	flags.Lookup("preserve-env").NoOptDefVal = "all"
	flags.StringP("prompt", "p", "", "nobody is asked")
	flags.StringP("close-from", "C", "", "nothing is left open in any case")
	flags.StringVarP(&c.user, "user", "u", "root", "run as this user")
	flags.StringVarP(&c.group, "group", "g", "", "run as this group")
	flags.StringVarP(&c.dir, "chdir", "D", "", "run in this folder")
	flags.BoolVarP(&c.home, "set-home", "H", false, "HOME is the user's")
	flags.BoolVarP(&c.list, "list", "l", false, "say what is allowed")
	flags.BoolVarP(&c.login, "login", "i", false, "run a login shell")
	flags.BoolVarP(&c.shell, "shell", "s", false, "run a shell")
	validate := flags.BoolP("validate", "v", false, "ask for the password now")
	reset := flags.BoolP("reset-timestamp", "k", false, "ask for the password again")
	remove := flags.BoolP("remove-timestamp", "K", false, "forget the password")
	for more := true; more; { // options and assignments in any order, until -- or the command
		if err := flags.Parse(args); err != nil {
			return c, err
		}
		args, more = flags.Args(), false
		for flags.ArgsLenAtDash() != 0 && len(args) > 0 && assignment.MatchString(args[0]) {
			c.variables, args = append(c.variables, args[0]), args[1:]
			more = len(args) > 0 && strings.HasPrefix(args[0], "-")
		}
	}
	c.auth = *validate || *reset || *remove
	c.command = args
	if len(c.command) == 0 && !(c.list || c.auth || c.login || c.shell) {
		return c, errors.New("a command is needed")
	}
	return c, nil
}

// sudoMain is sudo for hooks on the build host, which run as root, or as root
// of the build's own user namespace, already: it runs the command with the
// environment as it is.
func sudoMain(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	call, err := parseSudo(args)
	if errors.Is(err, pflag.ErrHelp) || err == nil && len(call.command) == 0 && (call.list || call.auth) {
		return 0
	}
	if err != nil {
		return finish(stderr, "sudo", err)
	}
	cmd, err := call.build(ctx, env)
	if err != nil {
		return finish(stderr, "sudo", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	return exitOf(cmd.Run(), stderr, "sudo")
}

// build makes the command. The program is looked up in the caller's PATH.
func (c sudoRequest) build(ctx context.Context, env []string) (*exec.Cmd, error) {
	who, err := lookupUser(c.user)
	if err != nil {
		return nil, err
	}
	words := c.command
	if c.login || c.shell {
		words = sudoShell(c.command, c.login)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(append([]string{}, env...), "USER="+who.Username, "LOGNAME="+who.Username, "SUDO_USER=root", "SUDO_UID=0", "SUDO_GID=0")
	if c.home || c.login {
		cmd.Env = append(cmd.Env, "HOME="+who.HomeDir)
	}
	if _, err := os.Stat(who.HomeDir); c.login && c.dir == "" && err == nil {
		cmd.Dir = who.HomeDir // as sudo, which goes on without it
	}
	cmd.Env = append(cmd.Env, c.variables...)
	cred, err := c.credential(who)
	if cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	return cmd, err
}

// sudoShell gives the words those of `sudo -s` and `sudo -i`.
func sudoShell(command []string, login bool) []string {
	words := []string{"/bin/sh"}
	if login {
		words = append(words, "-l")
	}
	if len(command) > 0 {
		words = append(words, "-c", strings.Join(command, " "))
	}
	return words
}

// lookupUser finds a user by name, by number, or by #number.
func lookupUser(name string) (*user.User, error) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		if who, err := user.LookupId(number); err == nil {
			return who, nil
		}
		if _, err := strconv.ParseUint(number, 10, 32); err == nil {
			return &user.User{Uid: number, Gid: number, Username: number, HomeDir: "/"}, nil
		}
	}
	who, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	return who, nil
}

// credential is nil when the user is the one we are: a user namespace may
// refuse even that change. Root of the build's own namespace is the user who
// builds: who asks for that one by name, to read that user's files or to write
// into the work folder, has it already.
func (c sudoRequest) credential(who *user.User) (*syscall.Credential, error) {
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	group := who.Gid
	if c.group != "" {
		found, err := user.LookupGroup(strings.TrimPrefix(c.group, "#"))
		if err == nil {
			group = found.Gid
		} else if group = strings.TrimPrefix(c.group, "#"); group == c.group {
			return nil, fmt.Errorf("group %q: %w", c.group, err)
		}
	}
	gid, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		return nil, err
	}
	if int(uid) == os.Geteuid() && int(gid) == os.Getegid() {
		return nil, nil
	}
	if builder, ok := runner.OutsideUID(); ok && uid == builder && os.Geteuid() == 0 {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// exitOf is the exit code of a command that was run in the place of another:
// its own, 128+n for signal n, 127 for one that is not there, 126 for one that
// cannot be run.
func exitOf(err error, stderr io.Writer, name string) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return finish(stderr, name, codeError{127, err})
	}
	return finish(stderr, name, codeError{126, err})
}
