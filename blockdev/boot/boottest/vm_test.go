package boottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be a process that starts a machine and is killed.
func TestMain(m *testing.M) {
	if image := os.Getenv("BOOTTEST_START"); image != "" {
		vm, err := Start(context.Background(), Options{Image: image})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(vm.process.Pid)
		<-vm.Exited()
	}
	os.Exit(m.Run())
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		if err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("needs %s, and CI=true lets nothing be skipped", tool)
		} else if err != nil {
			t.Skipf("needs %s", tool)
		}
	}
}

// program is a boot sector that writes a text to the serial port, then sends
// back what it receives.
var program = []byte{
	0x31, 0xc0, 0x8e, 0xd8, // ds = 0
	0xbe, 0x22, 0x7c, 0xfc, // si = text
	0xba, 0xf8, 0x03, // dx = data port
	0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // send until a zero byte
	0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, // wait for a byte
	0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xf1, // send it back
}

// tiny is a disk that boots into program.
func tiny(t *testing.T, text string) string {
	t.Helper()
	need(t, "qemu-system-x86_64", "qemu-img")
	disk := make([]byte, 1<<20)
	copy(disk, program)
	copy(disk[len(program):], text)
	copy(disk[510:], []byte{0x55, 0xaa})
	image := filepath.Join(t.TempDir(), "a, disk.raw")
	if err := os.WriteFile(image, disk, 0o444); err != nil {
		t.Fatal(err)
	}
	return image
}

func start(t *testing.T, o Options) *VM {
	t.Helper()
	vm, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
	})
	return vm
}

func TestConsole(t *testing.T) {
	scratch := t.TempDir()
	vm := start(t, Options{Image: tiny(t, "\x1b[1mhello\r\ntiny login: "), Size: 8 << 20, Memory: 64, CPUs: 1, Dir: scratch})
	ctx := context.Background()
	if err := vm.WaitBoot(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	// The tiny system has no flow control: on a busy machine it loses characters.
	var found []string
	err := errors.New("not typed yet")
	for try := 0; try < 10 && err != nil; try++ {
		if e := vm.SendLine("echoed 42"); e != nil {
			t.Fatal(e)
		}
		found, err = vm.WaitFor(ctx, regexp.MustCompile(`echoed (\d\d)`), 3*time.Second)
	}
	if err != nil || found[1] != "42" {
		t.Errorf("%q, %v", found, err)
	}
	_, err = vm.WaitFor(ctx, regexp.MustCompile("hello"), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "echoed 42") {
		t.Errorf("a passed text was found again, or the error has no log: %v", err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("overlay in sight: %v, %v", left, err)
	}
	if err := errors.Join(vm.Close(), vm.Close()); err != nil {
		t.Error(err)
	}
	if _, err := vm.WaitFor(ctx, regexp.MustCompile("x"), time.Minute); err == nil || !strings.Contains(err.Error(), "QEMU ended") {
		t.Errorf("after Close: %v", err)
	}
}

func TestDeadEndEndsTheWait(t *testing.T) {
	vm := start(t, Options{Image: tiny(t, "Kernel panic - not syncing"), Memory: 64, Bus: "sata"})
	begin := time.Now()
	err := vm.WaitBoot(context.Background(), 5*time.Minute)
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") || time.Since(begin) > 2*time.Minute {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}

func TestStartRefuses(t *testing.T) {
	image := tiny(t, "")
	for name, o := range map[string]Options{
		"no image":     {Image: "/missing.raw"},
		"no QEMU":      {Image: image, QEMU: "/missing"},
		"wrong option": {Image: image, Args: []string{"-nonsense"}},
	} {
		if vm, err := Start(context.Background(), o); err == nil {
			t.Errorf("%s: no error", name)
			_ = vm.Close()
		}
	}
}

func TestContextEndsTheMachine(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	vm, err := Start(ctx, Options{Image: tiny(t, "tiny login: "), Memory: 64})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-vm.Exited():
	case <-time.After(time.Minute):
		t.Error("QEMU outlives the context")
	}
}

// A killed test leaves neither QEMU nor an overlay.
func TestDeathOfTheStarter(t *testing.T) {
	image := tiny(t, "tiny login: ")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BOOTTEST_START="+image, "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, _ := out.Read(buf)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for range 100 {
		if gone(pid) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	left, err := os.ReadDir(temp)
	if !gone(pid) || err != nil || len(left) > 0 {
		t.Errorf("left: QEMU gone %v, files %v, %v", gone(pid), left, err)
	}
}

// gone says whether a process has ended; nobody may have collected it yet.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return unix.Kill(pid, 0) == unix.ESRCH || (err == nil && bytes.Contains(stat, []byte(") Z ")))
}

// TestSeveralDisks: each has an overlay, an empty one needs no image, one that is
// unplugged is not there at the next start, and the machine starts from the rest.
func TestSeveralDisks(t *testing.T) {
	first, second := tiny(t, "first login: "), tiny(t, "second login: ")
	scratch := t.TempDir()
	vm := start(t, Options{Image: first, ExtraDisks: []Disk{{Image: second, Format: "raw"}, {Size: 1 << 20}}, Memory: 64, CPUs: 1, Restarts: true, Dir: scratch})
	ctx := context.Background()
	if _, err := vm.WaitFor(ctx, regexp.MustCompile("first login: "), time.Minute); err != nil {
		t.Fatal(err)
	}
	if vm.Disks() != 3 || strings.Count(strings.Join(vm.args(), " "), "if=none,") != 3 {
		t.Errorf("%d disks: %q", vm.Disks(), vm.args())
	}
	if err := vm.kill(); err != nil {
		t.Fatal(err)
	}
	vm.Unplug(0)
	if err := vm.Restart(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.WaitFor(ctx, regexp.MustCompile("second login: "), time.Minute); err != nil {
		t.Error(err)
	}
	if err := vm.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
