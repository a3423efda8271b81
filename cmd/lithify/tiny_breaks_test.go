package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// onTerminal runs a build with a terminal, at which words are typed.
func (w *tiny) onTerminal(typed string, env ...string) (string, error) {
	w.t.Helper()
	build := w.with(env...).create("web", "tar")
	words := []string{}
	for _, arg := range build.Args {
		words = append(words, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	cmd := exec.Command("script", "--quiet", "--return", "--flush", "--command", strings.Join(words, " "), "/dev/null")
	cmd.Env, cmd.Dir, cmd.WaitDelay, cmd.SysProcAttr = build.Env, build.Dir, time.Second, build.SysProcAttr
	cmd.Stdin = strings.NewReader(typed)
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(out), "\r", ""), err
}

// TestTinyBreaks: shells before and after phases and hooks, and after an error.
func TestTinyBreaks(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "script")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			w.build("web", "tar")
			out, err := w.onTerminal("echo looked at $DIB_TINY_WORD in $(ls -d /tmp/in_target.d)\nexit 3\n", "break=before-install", "DIB_TINY_WORD=")
			if err != nil || !strings.Contains(out, "break=before-install") || !strings.Contains(out, "looked at in /tmp/in_target.d") || strings.Contains(out, "ran: /tmp/in_target.d/pre-install.d") {
				t.Errorf("looking only: %v: %s", err, out)
			}
			out, err = w.onTerminal("echo by hand > /by-hand\nexit\n", "break=after-90-last")
			if err != nil || w.inTar("web", "by-hand") != "by hand\n" {
				t.Errorf("changing: %v: %s", err, out)
			}
			w.build("web", "tar")
			if got := foreign(t, w.out, "tar", "--list", "--file", "web.tar"); strings.Contains(got, "by-hand") {
				t.Error("what was done by hand is kept")
			}
			out, err = w.onTerminal("", "break=before-root,after-cleanup", "break_cmd=echo instead of a shell")
			if err != nil || strings.Count(out, "\ninstead of a shell\n") != 2 || strings.Count(out, "the build goes on") != 2 {
				t.Errorf("outside: %v: %s", err, out)
			}
			w.edit("app/post-install.d/10-app", "\nexit 7\n")
			out, err = w.onTerminal("ls /dev/lithify/program\nexit\n", "break=after-error")
			if err == nil || !strings.Contains(out, "break=after-error") || !strings.Contains(out, "exit code 7") {
				t.Errorf("after an error: %v: %s", err, out)
			}
			w.nothingLeft()
		})
	}
}

func TestTinyBreaksNowhere(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.fails(1, w.with("break=after-error").create("web", "tar"), "no terminal")
	out, err := w.onTerminal("", "break=before-intsall")
	if err == nil || !strings.Contains(out, "there is no such place") || slices.Contains(strings.Fields(out), "ran:") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTinyShouldFail: the runner of elements' own tests asks for a command after
// an error, on the build host and without a terminal, and takes a file that the
// hook left for the sign that it failed as it should (F.1 of the contract).
func TestTinyShouldFail(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.hooks("cases", nil)
	sign := filepath.Join(w.dir, "sign")
	run := w.with("break=after-error", "break_outside_target=1", "break_cmd=cp -v $TMP_MOUNT_PATH/tmp/dib-test-should-fail "+sign)
	for _, c := range []struct {
		hook, text string
		should     bool
	}{
		{"install.d/60-case", "touch /tmp/dib-test-should-fail\nexit 5\n", true},
		{"install.d/60-case", "exit 5\n", false},
		{"extra-data.d/60-case", "touch \"$TMP_MOUNT_PATH/tmp/dib-test-should-fail\"\nexit 5\n", true},
		{"finalise.d/60-case", "touch /tmp/dib-test-should-fail\nexit 5\n", true},
	} {
		must(t, os.RemoveAll(filepath.Join(w.lib, "cases")))
		w.write("cases/"+c.hook, "#!/bin/sh\nset -eu\n"+c.text)
		r := run.fails(5, run.create("web", "tar"), `"60-case" of element "cases"`)
		if _, err := os.Stat(sign); (err == nil) != c.should {
			t.Errorf("%s: %s: %v: %v", c.hook, c.text, err, r)
		}
		must(t, os.RemoveAll(sign))
	}
}
