package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTinyHookHangs: the terminal names the hook that does not end and how long
// it has been at it; ^C ends hook and build.
func TestTinyHookHangs(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	mark := unheardNumber(t)
	w.hooks("stuck", map[string]string{"install.d/60-stuck": "trap '' INT HUP TERM\nsleep " + mark + "\n"})
	master, terminal := openPTY(t)
	cmd := w.with("TERM=xterm").create("web", "tar")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	must(t, cmd.Start())
	must(t, terminal.Close())
	var shown bytes.Buffer
	elapsed := regexp.MustCompile(`-- install/60-stuck \(stuck\)  ([0-9.]+)s`)
	times := func() (all []string) {
		for _, m := range elapsed.FindAllStringSubmatch(shown.String(), -1) {
			all = append(all, m[1])
		}
		return slices.Compact(all)
	}
	buf, asked := make([]byte, 4096), false
	must(t, master.SetReadDeadline(time.Now().Add(time.Minute)))
	for {
		n, err := master.Read(buf)
		shown.Write(buf[:n])
		if err != nil { // EIO: nobody has the terminal any more
			break
		}
		if !asked && len(times()) >= 4 {
			_, err := master.Write([]byte{3})
			must(t, err)
			asked = true
		}
	}
	_ = cmd.Wait() // the code is read below
	if code := cmd.ProcessState.ExitCode(); !asked || code != exitInterrupted || !strings.Contains(shown.String(), "stopped: interrupt") {
		t.Errorf("exit code %d, the hook's times %q:\n%s", code, times(), &shown)
	}
	if !slices.IsSorted(times()) {
		t.Errorf("the time goes back: %q", times())
	}
	noProcess(t, mark)
	w.nothingLeft()
	w.noOutput("web.tar")
}

// TestTinyDaemons: what hooks leave running, in the image and on the build host,
// by every way to get out of the shell's hands, is gone when the build is.
func TestTinyDaemons(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			mark := unheardNumber(t)
			// Each says that it is up; the hook waits for all of its own.
			daemons := "up=${TMP_MOUNT_PATH-}/tmp/up\n> $up\nexport up\n" +
				"sh -c 'echo up >> $up; exec sleep MARK' &\n" +
				"(trap '' HUP TERM INT; sh -c 'echo up >> $up; exec sleep MARK' < /dev/null > /dev/null 2>&1 &)\n"
			const wait = "for i in $(seq 100); do [ $(grep -c up $up) -lt 2 ] || break; sleep 0.1; done\n[ $(grep -c up $up) -ge 2 ]\n"
			const outside = "setsid --fork sleep MARK > /dev/null 2>&1\nnohup sleep MARK > /dev/null 2>&1 &\n"
			inside := strings.ReplaceAll(daemons+wait, "MARK", mark)
			host := inside + strings.ReplaceAll(outside, "MARK", mark)
			w.hooks("daemons", map[string]string{
				"root.d/60-daemons": host, "cleanup.d/60-daemons": host,
				"install.d/60-daemons": inside, "finalise.d/60-daemons": inside,
			})
			w.build("web", "tar")
			noProcess(t, mark)
			w.edit("daemons/install.d/60-daemons", "exit 3\n")
			w.fails(3, w.create("web", "tar"), "60-daemons")
			noProcess(t, mark)
		})
	}
}

// unheardNumber is a time to sleep that tells this test's processes from others.
func unheardNumber(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%d.%09d", 100000+os.Getpid(), time.Now().Nanosecond())
}

// noProcess looks for processes with a word in their command line. It waits a
// little: the kernel takes a namespace down in its own time.
func noProcess(t *testing.T, word string) {
	t.Helper()
	var left []int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = processesWith(t, word); len(left) == 0 {
			return
		}
	}
	t.Errorf("processes %d are left", left)
	for _, pid := range left {
		_ = unix.Kill(pid, unix.SIGKILL) // of our own; it may just have ended
	}
}

func processesWith(t *testing.T, word string) (all []int) {
	t.Helper()
	for pid := range processes(t) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(data, []byte(word)) {
			all = append(all, pid)
		}
	}
	return all
}
