package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testUI is a ui whose clock goes on by a second each time it is asked, and
// whose log is a file of the test's.
func testUI(t *testing.T, out io.Writer, env ...string) *ui {
	t.Helper()
	o := parsed(t, []string{"-o", "web", "el"}, append(env, "XDG_CACHE_HOME="+t.TempDir())...)
	u, err := newUI(o, out, out)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	at := time.Date(2026, 11, 23, 4, 5, 6, 789e6, time.FixedZone("", 3600))
	u.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
	if s, ok := u.screen.(plainScreen); ok {
		s.now = func() time.Time { return at }
		u.screen = s
	}
	t.Cleanup(func() { u.log.Close() })
	return u
}

// play is a small build.
func play(u *ui) {
	done := u.Stage("building the tree")
	u.Hook("root", "debootstrap", "08-x", true)
	u.Hook("install", "vm", "10-y", true)
	hook := u.Hook("install", "vm", "20-z", false)
	fmt.Fprint(u.Log(), "one\ntwo\r\nthr")
	hook(nil)
	hook = u.Hook("finalise", "", "fstab", false)
	hook(errors.New("x"))
	done(errors.New("x"))
	u.Warn("beware")
	u.Progress("web.qcow2", 50, 100)
	u.Summary(Summary{Took: 75 * time.Second, Arch: "amd64", Files: []OutputFile{
		{Path: "web's.raw", Format: "raw", Size: 3 << 29},
		{Path: "h/r:t", Format: "docker", Digest: "sha256:1"},
	}})
	u.Close()
}

func TestPlainScreen(t *testing.T) {
	var out strings.Builder
	u := testUI(t, &out)
	play(u)
	got := strings.ReplaceAll(out.String(), u.LogPath(), "LOG")
	got = strings.ReplaceAll(got, " -accel kvm -accel tcg", "")
	want := `log: LOG
2026-11-23 03:05:08.789 | == building the tree
2026-11-23 03:05:09.789 | -- 2 steps reused
2026-11-23 03:05:11.789 | -- install/20-z (vm)
2026-11-23 03:05:12.789 | one
2026-11-23 03:05:13.789 | two
2026-11-23 03:05:14.789 | thr
2026-11-23 03:05:16.789 | -- install/20-z (vm): in 5.0s
2026-11-23 03:05:18.789 | -- finalise/fstab
2026-11-23 03:05:20.789 | -- finalise/fstab: failed after 2.0s
2026-11-23 03:05:22.789 | == building the tree: stopped after 14.0s
warning: beware
2026-11-23 03:05:24.789 | web's.raw  1.5 GiB
2026-11-23 03:05:25.789 | h/r:t  sha256:1
2026-11-23 03:05:26.789 | 2 steps reused, 2 run; 1m15s
2026-11-23 03:05:27.789 | time: building the tree 14.0s
2026-11-23 03:05:28.789 | start it: qemu-system-x86_64 -m 1024 -nographic -nic user,model=virtio-net-pci -drive file='web'\''s.raw',format=raw,if=virtio
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

// TestLogIsWhole: what is shown or not, the log has every line, with its time.
func TestLogIsWhole(t *testing.T) {
	for _, env := range []string{"DIB_QUIET=1", "DIB_NO_TIMESTAMP=1", "X=1"} {
		var out strings.Builder
		u := testUI(t, &out, env)
		play(u)
		log := content(t, u.LogPath())
		for _, line := range []string{"== building the tree", "one", "two", "thr", "warning: beware", "-- 2 steps reused", "h/r:t  sha256:1"} {
			if !regexp.MustCompile(`(?m)^2026-11-23 03:05:\d\d\.789 \| ` + regexp.QuoteMeta(line) + `$`).MatchString(log) {
				t.Errorf("%s: the log lacks %q:\n%s", env, line, log)
			}
		}
		switch shown := out.String(); {
		case env == "DIB_QUIET=1" && shown != "warning: beware\n":
			t.Errorf("quiet shows %q", shown)
		case env == "DIB_NO_TIMESTAMP=1" && !strings.Contains(shown, "\none\ntwo\nthr\n"):
			t.Errorf("without times shows %q", shown)
		}
		if info, _ := os.Stat(u.LogPath()); info.Mode().Perm() != 0o600 {
			t.Errorf("others may read the log: %v", info.Mode())
		}
	}
}

// TestLogfile: a given log is appended to, keeps standard output quiet, and a
// wrong one is the user's mistake.
func TestLogfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	play(testUI(t, &out, "LOGFILE="+path))
	if got := out.String(); got != "log: "+path+"\nwarning: beware\n" {
		t.Errorf("shows %q", got)
	}
	if log := content(t, path); !strings.HasPrefix(log, "before\n2026") {
		t.Errorf("logs %q", log)
	}
	if _, err := newUI(Options{LogFile: path + "/x"}, &out, &out); exitCode(err) != exitUsage {
		t.Errorf("got %v", err)
	}
}

func TestTail(t *testing.T) {
	u := testUI(t, io.Discard)
	w := u.Log()
	if got := u.Tail(20); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	for i := range 250 {
		fmt.Fprintf(w, "%d\n", i)
	}
	fmt.Fprint(w, "no end")
	if got := strings.Join(u.Tail(3), " "); got != "248 249 no end" {
		t.Errorf("got %q", got)
	}
	if got := u.Tail(1000); len(got) != 100 || got[0] != "151" {
		t.Errorf("got %d lines from %q", len(got), got[0])
	}
	u.Hook("install", "vm", "20-next", true)
	if got := u.Tail(1); len(got) != 1 {
		t.Errorf("a reused hook writes nothing: %q", got)
	}
	fmt.Fprintln(w)
	u.Hook("install", "vm", "30-next", false)
	fmt.Fprintln(w, "its own words")
	if got := u.Tail(20); len(got) != 1 || got[0] != "its own words" {
		t.Errorf("a hook's own lines: %q", got)
	}
}

// TestLogConcurrent: lines of writers that write at once do not mix, and a line
// without an end does not fill memory.
func TestLogConcurrent(t *testing.T) {
	u := testUI(t, io.Discard)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			w, line := u.Log(), strings.Repeat(fmt.Sprint(i), 50)+"\n"
			for range 50 {
				io.WriteString(w, line[:20])
				io.WriteString(w, line[20:])
			}
		})
	}
	group.Wait()
	lines := strings.Split(strings.TrimSpace(content(t, u.LogPath())), "\n")
	for _, l := range lines {
		_, text, _ := strings.Cut(l, " | ")
		if len(text) != 50 || strings.Trim(text, text[:1]) != "" {
			t.Fatalf("mixed: %q", text)
		}
	}
	if len(lines) != 400 {
		t.Errorf("%d lines", len(lines))
	}
	w := u.Log().(*lineWriter)
	io.WriteString(w, strings.Repeat("x", maxLine+5))
	if len(w.rest) != 5 {
		t.Errorf("%d bytes wait for the end of their line", len(w.rest))
	}
}

func TestOldLogsGo(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		path := filepath.Join(dir, fmt.Sprintf("%02d.log", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, time.Time{}, time.Unix(int64(1000+i), 0))
	}
	removeOldLogs(dir, keptLogs)
	if got := files(t, dir); len(got) != keptLogs || got[0] != "10.log" {
		t.Errorf("got %q", got)
	}
}

func TestLogWhereHomeCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	o := Options{Name: "web", TmpDir: dir, Environment: map[string]string{"HOME": "/proc/nowhere"}}
	f, err := openLog(o, time.Now())
	if err != nil || filepath.Dir(f.Name()) != dir {
		t.Fatalf("%v", err)
	}
	f.Close()
}

// TestLiveScreen plays a build on a pseudo-terminal: finished lines stay, hook
// output is not shown, and elapsed time was.
func TestLiveScreen(t *testing.T) {
	master, terminal := openPTY(t)
	var shown strings.Builder
	read := make(chan struct{})
	go func() {
		io.Copy(&shown, master)
		close(read)
	}()
	o := parsed(t, []string{"el"}, "XDG_CACHE_HOME="+t.TempDir(), "TERM=xterm")
	u, err := newUI(o, terminal, terminal)
	if err != nil {
		t.Fatal(err)
	}
	done := u.Stage("building the tree")
	hook := u.Hook("install", "vm", "20-z", false)
	fmt.Fprintln(u.Log(), "hook output")
	time.Sleep(700 * time.Millisecond) // three refreshes
	u.Warn("beware")
	hook(nil)
	done(nil)
	u.Progress("web.qcow2", 1, 100)
	time.Sleep(300 * time.Millisecond)
	u.Progress("web.qcow2", 100, 100)
	u.Summary(Summary{Files: []OutputFile{{Path: "web.qcow2", Format: "qcow2", Size: 5}}})
	u.Stage("left open")
	u.Close()
	terminal.Close()
	<-read
	for _, want := range []string{"building the tree  0.", "-- install/20-z (vm)  0.", "-- install/20-z (vm): in 0.", "== building the tree: ",
		"warning: beware\r\n", "web.qcow2  1", "web.qcow2  5 bytes\r\n"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("never showed %q", want)
		}
	}
	if strings.Contains(shown.String(), "hook output") {
		t.Error("showed what hooks print")
	}
	if t.Failed() {
		t.Logf("%q", shown.String())
	}
	if log := content(t, u.LogPath()); !strings.Contains(log, "| hook output\n") {
		t.Error("the log lacks what hooks print")
	}
}

// openPTY opens a pseudo-terminal of 120 columns.
func openPTY(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		needed(t, "a pseudo-terminal", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		needed(t, "a pseudo-terminal", err)
	}
	unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120})
	return master, terminal
}

// needed ends a test for want of something: it skips on a laptop and fails in CI.
func needed(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %v", what, err)
	}
	t.Skipf("needs %s: %v", what, err)
}

func TestSummaryOfNothingToDo(t *testing.T) {
	s := Summary{Took: time.Second / 2, Files: []OutputFile{{Path: "w.raw", Size: 2048, Kept: true}}}
	if got := strings.Join(s.lines(), "|"); got != "w.raw  2.0 KiB  unchanged|nothing to do: all is as it was made; 0.5s" {
		t.Errorf("got %q", got)
	}
}

func TestSizesAndTimesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 3 << 29: "1.5 GiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		40 * time.Millisecond: "0.0s", 12345 * time.Millisecond: "12.3s", 65 * time.Second: "1m05s", 3661 * time.Second: "1h01m01s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
