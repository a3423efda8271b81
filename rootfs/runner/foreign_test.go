package runner

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProbes lets the emulators of all architectures, given by hand, and the
// kernel judge the programs that Executes tries.
func TestProbes(t *testing.T) {
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			emulator := EmulatorNames(m.name)[0]
			need(t, emulator)
			text, err := m.probe()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "probe")
			write(t, file, string(text), 0o755)
			// The emulator may take another machine's program for its own.
			f, err := elf.NewFile(bytes.NewReader(text))
			if err != nil || f.Machine != m.number || len(f.Progs) != 1 {
				t.Fatalf("debug/elf reads %+v, %v", f, err)
			}
			err = exec.Command(emulator, file).Run()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != probeCode {
				t.Errorf("%s: %v, want exit code %d", emulator, err, probeCode)
			}
		})
	}
}

// foreignArch is one that this machine does not run, and has an emulator for.
func foreignArch(t *testing.T) string {
	t.Helper()
	need(t, "qemu-aarch64-static")
	for _, m := range machines {
		runs, err := Executes(m.name, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath(EmulatorNames(m.name)[0]); err == nil && !runs {
			return m.name
		}
	}
	need(t, "an emulator that this machine's kernel does not know")
	return ""
}

// TestExecutes: what the processor runs runs; a word that nobody knows is a
// mistake.
func TestExecutes(t *testing.T) {
	need(t)
	own := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}[runtime.GOARCH]
	if own == "" {
		own = runtime.GOARCH
	}
	if runs, err := Executes(own, t.TempDir()); err != nil || !runs {
		t.Errorf("%s: %v, %v", own, runs, err)
	}
	if runs, err := Executes("pdp11", t.TempDir()); err == nil || runs {
		t.Errorf("pdp11: %v, %v", runs, err)
	}
	if runs, err := Executes(own, "/nowhere"); err == nil || runs {
		t.Errorf("no work folder: %v, %v", runs, err)
	}
	if _, err := Emulate(foreignArch(t), "/usr/bin/true"); !errors.Is(err, ErrHostNamespace) && !InUserNamespace() {
		t.Errorf("registering for the whole machine: %v", err)
	}
}

// TestEmulate registers an emulator in sessions of their own, as root and as an
// ordinary user: it is there in a tree too, until it is closed, and nowhere else.
func TestEmulate(t *testing.T) {
	arch := foreignArch(t)
	tree := busyboxTree(t)
	work := openDir(t)
	if err := os.Chmod(work, 0o1777); err != nil {
		t.Fatal(err)
	}
	m, err := machineNamed(arch)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.probe()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, "probe"), string(text), 0o755)
	for name, as := range people(t) {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, as, "x", lineVar+"=emulate "+arch+" "+work, treeVar+"="+tree)
			cmd.Env = append(cmd.Env, roleVar+"=session-user")
			out, err := cmd.CombinedOutput()
			if want := "before false, open true 77, closed false, again true\n"; err != nil || string(out) != want {
				t.Errorf("%v\n%s\nwant %s", err, out, want)
			}
			if after, err := Executes(arch, work); err != nil || after {
				t.Errorf("outside the session: %v, %v", after, err)
			}
		})
	}
}

// playEmulation says what runs before, in and after an emulation.
func playEmulation(line string) (text string, err error) {
	words := strings.Fields(line)
	arch, work := words[1], words[2]
	emulator, err := exec.LookPath(EmulatorNames(arch)[0])
	if err != nil {
		return "", err
	}
	before, err1 := Executes(arch, work)
	e, err := Emulate(arch, emulator)
	if err := errors.Join(err, err1); err != nil {
		return "", err
	}
	open, err2 := Executes(arch, work)
	inTree := Run(context.Background(), Command{Root: os.Getenv(treeVar), Args: []string{"/probe"}})
	if err := errors.Join(err2, e.Close()); err != nil {
		return "", err
	}
	closed, err3 := Executes(arch, work)
	if e, err = Emulate(arch, emulator); err != nil {
		return "", err
	}
	again, err := Executes(arch, work)
	text = fmt.Sprintf("before %v, open %v %d, closed %v, again %v\n", before, open, code(inTree), closed, again)
	return text, errors.Join(err3, err, e.Close())
}

func TestCheckEmulator(t *testing.T) {
	static, err := exec.LookPath(EmulatorNames(foreignArch(t))[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckEmulator(static); err != nil {
		t.Error(err)
	}
	dynamic, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckEmulator(dynamic); err == nil || !strings.Contains(err.Error(), "not static") {
		t.Errorf("bash: %v", err)
	}
	if err := CheckEmulator("/etc/passwd"); err == nil {
		t.Error("/etc/passwd passed")
	}
	if err := CheckEmulator("/nowhere"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("/nowhere: %v", err)
	}
}
