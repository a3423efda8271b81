package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs"
	"github.com/lithify/lithify/rootfs/runner"
)

func failedHook(code int) error {
	return &rootfs.HookError{Element: "vm", Phase: "install", Hook: "10-x",
		Err: fmt.Errorf("running: %w", &runner.ExitError{Args: []string{"10-x"}, Code: code})}
}

// TestExitCodes: every code of the table, through wrapped errors, with what the
// message must say.
func TestExitCodes(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}
	reached := map[int]bool{}
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, exitOK, ""},
		{fmt.Errorf("anything"), exitFailed, "anything"},
		{usagef("typed %q", "x"), exitUsage, `typed "x"`},
		{notYetf("that"), exitUsage, "not supported yet: that"},
		{&elements.MissingError{Name: "vmm", Nearest: "vm"}, exitUsage, "vm"},
		{&elements.NoOperatingSystemError{}, exitUsage, "operating system"},
		{&elements.AlreadyProvidedError{Name: "a", Provider: "b"}, exitUsage, "provided"},
		{&elements.FileError{Element: "web", File: "pkg-map", Err: errors.New("line 3")}, exitUsage, "element 'web', pkg-map: line 3"},
		{&elements.LayoutConflictError{First: "a", Second: "b"}, exitUsage, "DIB_BLOCK_DEVICE_CONFIG"},
		{&rootfs.EnvironmentError{Element: "web", File: "environment.d/x", Said: "oh", Err: &runner.ExitError{Code: 9}}, 9, "element 'web', environment.d/x: exit code 9: oh"},
		{&rootfs.EnvironmentError{Err: syscall.ENOENT}, exitFailed, "sourcing the elements' environment.d: no such file"},
		{&blockdev.ConfigError{Path: "[0]", Text: "bad"}, exitUsage, "bad"},
		{&file.VolumeError{Node: "pool"}, exitUsage, "--backend loop"},
		{&rootfs.NotYetError{What: "this"}, exitUsage, "not supported yet"},
		{&missingToolsError{tools: []string{"mke2fs"}}, exitTool, "e2fsprogs"},
		{&convert.RefusedError{Name: "aci"}, exitUsage, `format "aci" is not made: `},
		{&runner.MissingToolError{Tool: "newuidmap", Package: "uidmap"}, exitTool, "uidmap"},
		{&runner.NoSubIDError{User: "u", File: "/etc/subuid", Line: "u:1:2"}, exitUserIDs, "u:1:2"},
		{&runner.NoUserNamespaceError{Err: syscall.EPERM}, exitUserIDs, "namespace"},
		{full, exitNoSpace, "TMPDIR"},
		{&blockdev.NoSpaceError{Err: full}, exitNoSpace, ""},
		{&blockdev.NoSpaceError{Explicit: true, Err: full}, exitTooSmall, "--image-size"},
		{&blockdev.SizeError{What: "root", Needed: 2, Given: 1}, exitTooSmall, "--image-size"},
		{failedHook(42), 42, "element \"vm\""},
		{&rootfs.HookError{Err: full}, exitFailed, ""},
		{interrupted{cause: signalError{syscall.SIGINT}, err: failedHook(1)}, exitInterrupted, "interrupt"},
		{interrupted{cause: signalError{syscall.SIGTERM}}, 143, "terminated"},
		{context.Canceled, exitInterrupted, ""},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("building: %w", err)
		}
		var b strings.Builder
		if code := report(&b, "prog", err, buildLog{path: "/the/log"}); code != c.code {
			t.Errorf("%v: exit %d, want %d", c.err, code, c.code)
		}
		if !strings.Contains(b.String(), c.says) {
			t.Errorf("%v: says %q, want %q in it", c.err, b.String(), c.says)
		}
		reached[c.code] = true
	}
	for _, row := range exitCodes {
		if !reached[row.code] {
			t.Errorf("no case for exit code %d", row.code)
		}
	}
}

func TestReportOfAHook(t *testing.T) {
	var b strings.Builder
	report(&b, "disk-image-create", failedHook(3), buildLog{path: "/l", tail: []string{"a", "b"}})
	want := `the last lines of install/10-x (vm):
  | a
  | b
disk-image-create: running hook "10-x" of element "vm" in phase install: running: command ["10-x"] ended with exit code 3
the whole log: /l
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestMissingTools(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/there", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{Environment: map[string]string{"PATH": dir}}
	if err := checkHostTools(o, "there", "nothere|there"); err != nil {
		t.Error(err)
	}
	err := checkHostTools(o, "there", "no-mmdebstrap", "no-x|there", "no-y|no-z")
	if err == nil || !strings.Contains(err.Error(), "no-y or no-z") || strings.Contains(err.Error(), "no-x") {
		t.Errorf("got %v", err)
	}
	for root, want := range map[bool]string{
		true:  "\nto install it: apt-get install --no-install-recommends -y mmdebstrap e2fsprogs",
		false: "\nto install it: sudo apt-get install --no-install-recommends -y mmdebstrap e2fsprogs",
	} {
		e := &missingToolsError{tools: []string{"mmdebstrap|debootstrap", "mke2fs", "debugfs"}, root: root}
		if !strings.HasSuffix(e.Error(), want) || !strings.Contains(e.Error(), "mmdebstrap or debootstrap (Debian package mmdebstrap)") {
			t.Errorf("got %q", e.Error())
		}
	}
}
