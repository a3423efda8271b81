package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/boot"
	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs/runner"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	runner.Main()
	if oci.Init() {
		return
	}
	if ask := os.Getenv(judgeVar); ask != "" {
		os.Exit(judge(ask))
	}
	if file := os.Getenv(measureVar); file != "" {
		os.Exit(measure(file, os.Args[1:]))
	}
	programs := map[string]func(){}
	for _, name := range []string{"lithify", "disk-image-create", "ramdisk-image-create", "element-info", "dib-lint", "diskimage-builder", "dib-block-device"} {
		programs[name] = main
	}
	// Hooks call the program by these names. A name that is missing here would
	// run the tests in the place of the command.
	for _, name := range slices.Concat(targetCommandNames(), hostCommandNames(), lastCommandNames(), boot.Commands()) {
		programs[name] = main
	}
	testscript.Main(leftovers{m}, programs)
}

// TestScripts runs the program as users do. exits CODE runs the rest of the
// line and compares the exit code, which testscript alone does not.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("LITHIFY_STORE", e.WorkDir+"/store")
			return os.Mkdir(e.WorkDir+"/home", 0o700)
		},
		Condition: func(word string) (bool, error) {
			if word != "root" {
				return false, fmt.Errorf("unknown condition %q", word)
			}
			if os.Geteuid() != 0 && os.Getenv("CI") == "true" {
				return false, errors.New("these tests need root")
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "appears": appears},
	})
}

// appears FILE waits until another process made the file.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT]...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("running %q: %v", args[1], err)
		}
		got = fmt.Sprint(e.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("%q exits %s, want %s", args[1:], got, args[0])
	}
}

// TestSameSignalAgain: a signal that comes again at once, as it may through the
// session, does not kill a build that is cleaning up.
func TestSameSignalAgain(t *testing.T) {
	again := syscall.SIGHUP
	if signal.Ignored(again) { // these tests run under nohup
		again = syscall.SIGTERM
	}
	ctx, stop := untilSignal(context.Background())
	defer stop()
	for range 3 { // unless they are caught this test dies
		if err := syscall.Kill(os.Getpid(), again); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		time.Sleep(sameSignal / 5)
	}
	var got signalError
	if !errors.As(context.Cause(ctx), &got) || got.signal != again {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
}
