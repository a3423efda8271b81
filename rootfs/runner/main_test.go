package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the program that the tests watch from outside: with
// these variables it plays a caller of Run, or a build with a session.
const (
	roleVar = "RUNNER_TEST_ROLE" // "run", "run words", "session" or "session-user"
	treeVar = "RUNNER_TEST_TREE" // where to run the line; empty: outside
	lineVar = "RUNNER_TEST_LINE" // a shell line, "count signals", or "emulate ARCH FOLDER"
	markVar = "RUNNER_TEST_MARK" // tells the processes of one test
)

func TestMain(m *testing.M) {
	Main()
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

func play(role string) int {
	if !strings.HasPrefix(role, "run") {
		code, inside, err := Session{User: role == "session-user"}.Enter(context.Background())
		if killed := new(KilledError); errors.As(err, &killed) {
			os.Exit(code)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		if !inside {
			return code
		}
	}
	switch line := os.Getenv(lineVar); {
	case line == "count signals":
		return countSignals()
	case strings.HasPrefix(line, "emulate "):
		text, err := playEmulation(line)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 97
		}
		fmt.Print(text)
		return 0
	}
	return playLine()
}

func playLine() int {
	c := Command{
		Root: os.Getenv(treeVar), Args: []string{"sh", "-c", os.Getenv(lineVar)}, Env: os.Environ(),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if os.Getenv(roleVar) == "run words" { // no shell: busybox's ignores SIGQUIT
		c.Args = strings.Fields(os.Getenv(lineVar))
	}
	err := Run(context.Background(), c)
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		return exit.Code
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	return 0
}

// countSignals says ready, then the name of each signal as it comes, until none
// has come for a while.
func countSignals() int {
	c := make(chan os.Signal, 16)
	signal.Notify(c, forwarded...)
	fmt.Println("ready")
	for {
		select {
		case s := <-c:
			fmt.Println(s)
		case <-time.After(2 * time.Second):
			return 0
		}
	}
}

// lacking skips the test, and fails it under CI=true.
func lacking(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// need skips the test when this is not root's machine with the tools, and fails
// it instead under CI=true.
func need(t testing.TB, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 || !hasCap(21) {
		lacking(t, "needs root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, "needs "+tool)
		}
	}
}

var testEnv = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "WEIRD=\xff\xfe"}

// openDir is a temporary folder that every user can reach.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "runner-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// busyboxTree makes a small tree.
func busyboxTree(t testing.TB) string {
	t.Helper()
	need(t, "busybox")
	tree := filepath.Join(openDir(t), "tree")
	for _, d := range []string{"bin", "dev", "proc", "sys", "etc", "tmp", "mnt/deep", "root", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, box, filepath.Join(tree, "bin/busybox"))
	list, err := exec.Command(box, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(list)) {
		if err := os.Symlink("busybox", filepath.Join(tree, "bin", name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(tree, "etc/file"), "inside\n", 0o644)
	return tree
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b), 0o755)
}

func write(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// sh runs a line in a tree and gives its output, both streams in one.
func sh(t testing.TB, tree, line string, mounts ...Mount) (string, error) {
	t.Helper()
	var out strings.Builder
	err := Run(context.Background(), Command{
		Root: tree, Args: []string{"sh", "-c", line}, Env: testEnv, Stdout: &out, Stderr: &out, Mounts: mounts,
	})
	return out.String(), err
}

// code is the exit code an error of Run stands for, -1 for other errors.
func code(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}

// marked lists the living processes that have the mark in their environment.
func marked(t testing.TB, mark string) []string {
	t.Helper()
	return processes(t, func(dir string) bool {
		env, err := os.ReadFile(dir + "/environ")
		return err == nil && strings.Contains(string(env), mark)
	})
}

// processes lists "pid command" of the processes that have a property.
func processes(t testing.TB, has func(dir string) bool) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, dir := range dirs {
		if has(dir) {
			line, _ := os.ReadFile(dir + "/cmdline")
			list = append(list, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// eventually waits for the condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

func kill(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}
