package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lithify/lithify/elements"
	"golang.org/x/sys/unix"
)

const runPartsUsage = "usage: dib-run-parts [--list] DIR"

// runPartsMain is dib-run-parts [--list] DIR: it runs the scripts of a folder in
// their order, after environment.d beside it was sourced. Everything it says
// itself goes to stderr.
func runPartsMain(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	list := len(args) > 0 && args[0] == "--list"
	if list {
		args = args[1:]
	}
	if len(args) != 1 {
		fmt.Fprintln(stderr, runPartsUsage)
		return 1
	}
	if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
		fmt.Fprintf(stderr, "dib-run-parts: %q is not a directory\n%s\n", args[0], runPartsUsage)
		return 1
	}
	p := partsRun{dir: args[0], env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	if err := p.find(); err != nil {
		return finish(stderr, "dib-run-parts", err)
	}
	if list {
		return finish(stderr, "dib-run-parts", p.list())
	}
	return finish(stderr, "dib-run-parts", p.run(ctx))
}

// partsRun is one call of dib-run-parts.
type partsRun struct {
	dir            string
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer

	scripts  []string
	badNames []string // executable, but not called as scripts are
	noMode   []string // called as scripts are, but not executable
	took     []time.Duration
}

func (p *partsRun) logf(format string, args ...any) {
	fmt.Fprintf(p.stderr, "dib-run-parts "+format+"\n", args...)
}

// find sorts the files of the folder into those that run and those that do not.
func (p *partsRun) find() error {
	var names *regexp.Regexp
	if text := getenv(p.env, "RUN_PARTS_REGEX"); text != "" {
		var err error
		if names, err = regexp.Compile(text); err != nil {
			return fmt.Errorf("RUN_PARTS_REGEX: %w", err)
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("looking for scripts: %w", err)
	}
	for _, e := range entries {
		file := p.path(e.Name())
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		// The mode is one that passes: access knows whether this caller may run it.
		named := elements.Eligible(e.Name(), 0o755, names)
		switch runs := unix.Access(file, unix.X_OK) == nil; {
		case named && runs:
			p.scripts = append(p.scripts, e.Name())
		case named:
			p.noMode = append(p.noMode, e.Name())
		case runs:
			p.badNames = append(p.badNames, e.Name())
		}
	}
	slices.SortFunc(p.scripts, func(a, b string) int {
		if elements.Less(a, b) {
			return -1
		}
		return 1 // no two files have one name
	})
	return nil
}

func (p *partsRun) path(name string) string { return strings.TrimRight(p.dir, "/") + "/" + name }

func (p *partsRun) list() error {
	out := bufio.NewWriter(p.stdout)
	for _, name := range p.scripts {
		fmt.Fprintln(out, p.path(name))
	}
	return out.Flush()
}

// run is the phase. The first script that fails ends it, with its own code.
func (p *partsRun) run(ctx context.Context) error {
	if level, _ := strconv.Atoi(getenv(p.env, "DIB_DEBUG_TRACE")); level > 0 {
		for _, name := range p.noMode {
			p.logf("Skipping %s: not executable", p.path(name))
		}
		for _, name := range p.badNames {
			p.logf("Skipping %s: its name is not one that runs", p.path(name))
		}
	}
	env, err := p.source(ctx)
	if err != nil {
		return err
	}
	for _, name := range p.scripts {
		p.logf("Running %s", p.path(name))
		began := time.Now()
		if err := p.script(ctx, p.path(name), env); err != nil {
			return err
		}
		p.took = append(p.took, time.Since(began))
		p.logf("%s completed", name)
	}
	p.profile()
	return nil
}

// source reads all of environment.d beside the folder, in one shell, and returns
// the environment after that.
func (p *partsRun) source(ctx context.Context) ([]string, error) {
	dir, err := filepath.EvalSymlinks(p.dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for environment.d: %w", err)
	}
	base := filepath.Dir(dir)
	files, err := environmentFiles(base)
	if err != nil || len(files) == 0 {
		return p.env, err
	}
	args := elements.SourceScript(base, files)
	text, err := p.readFrom(p.command(ctx, p.env, args...))
	if err != nil {
		return nil, scriptError{"environment.d", err}.coded()
	}
	sourced, err := elements.ParseEnvironment(text)
	if err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(slices.Clone(p.env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=") // one that a snippet unset shall be gone
		return !slices.Contains([]string{"_", "SHLVL", "PWD", "OLDPWD"}, name)
	})
	for name, value := range sourced {
		env = append(env, name+"="+value)
	}
	return env, nil
}

// environmentFiles lists environment.d of a folder, in the order of its reading:
// by bytes, as element authors are used to.
func environmentFiles(base string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(base, "environment.d"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading environment.d: %w", err)
	}
	var files []string
	for _, e := range entries {
		file := filepath.Join("environment.d", e.Name())
		if info, err := os.Stat(filepath.Join(base, file)); err == nil && info.Mode().IsRegular() && elements.EnvironmentName(e.Name()) {
			files = append(files, file)
		}
	}
	return files, nil
}

func (p *partsRun) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, p.stdin, p.stdout, p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// readFrom runs a command and returns what it writes to descriptor 3.
func (p *partsRun) readFrom(cmd *exec.Cmd) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.Close()
	// A daemon that a snippet starts would keep the pipe open: what counts is
	// there when the shell is gone.
	read := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(r)
		read <- text
	}()
	err = cmd.Wait()
	r.SetReadDeadline(time.Now().Add(time.Second))
	return <-read, err
}

// script runs one script. One without "#!" is bash's, as when a shell runs it.
func (p *partsRun) script(ctx context.Context, file string, env []string) error {
	cmd := p.command(ctx, env, file)
	if filepath.Base(file) == file { // by path, never by a search in PATH
		cmd = p.command(ctx, env, "./"+file)
	}
	err := cmd.Run()
	if errors.Is(err, syscall.ENOEXEC) {
		err = p.command(ctx, env, "bash", file).Run()
	}
	if err != nil {
		return scriptError{file, err}.coded()
	}
	return nil
}

// scriptError is a script that failed.
type scriptError struct {
	file string
	err  error
}

func (e scriptError) Error() string { return fmt.Sprintf("running %s: %v", e.file, e.err) }

// coded adds the exit code that a shell would give.
func (e scriptError) coded() error {
	var exit *exec.ExitError
	switch {
	case errors.As(e.err, &exit) && exit.ExitCode() > 0:
		return codeError{exit.ExitCode(), e}
	case errors.As(e.err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return codeError{128 + int(status.Signal()), e}
		}
	case errors.Is(e.err, fs.ErrNotExist):
		return codeError{127, e}
	case errors.Is(e.err, fs.ErrPermission):
		return codeError{126, e}
	}
	return e
}

// profile tells how long each script took.
func (p *partsRun) profile() {
	if len(p.took) == 0 {
		return
	}
	width := 40 // as readers of logs expect
	for _, name := range p.scripts {
		width = max(width, len(name))
	}
	p.logf("----- PROFILING: %s -----", filepath.Base(p.dir))
	p.logf("%-*s %10s", width, "Script", "Seconds")
	for i, took := range p.took {
		p.logf("%-*s %10.3f", width, p.scripts[i], took.Seconds())
	}
	p.logf("----- END PROFILING -----")
}
