package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marked is a world whose builds can be told from everything else on the
// machine: by a variable that even hooks get, and by the name of the disk's
// file, which loop devices tell.
type marked struct {
	*tiny
	mark    string
	lines   int    // that a whole build writes
	sums    string // of what it makes
	formats string
	random  *rand.Rand
}

// rounds is how many builds a test of this file stops, so many unless the caller
// wants more: a build costs seconds.
func rounds(usual int) int {
	if given := os.Getenv("LITHIFY_TEST_ROUNDS"); given != "" {
		return number(given)
	}
	return usual
}

func newMarked(t *testing.T, w *tiny) *marked {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("LITHIFY_TEST_SEED"); given != "" {
		seed = uint64(number(given))
	}
	t.Logf("LITHIFY_TEST_SEED=%d gives the same moments", seed)
	m := &marked{random: rand.New(rand.NewPCG(seed, 0)), formats: "raw,qcow2,tar"}
	m.mark = fmt.Sprintf("e2e%d%s", os.Getpid(), strings.ToLower(filepath.Base(w.dir)[len("lithify-e2e-"):]))
	m.tiny = w.with(epoch, "ftp_proxy=http://"+m.mark+".invalid/", strings.ReplaceAll(twoPartitions, "image0", m.mark))
	m.args = append(slices.Clone(m.args), "--image-size", "100MiB")
	if w.as == nil { // a time would choose the file back end, which has less to leave behind
		m.args = append(m.args, "--backend", "loop")
	}
	m.lines = strings.Count(m.build("web", m.formats).stdout, "\n")
	m.sums = m.checksums(t)
	return m
}

// checksums are those of what repeats to the bit.
func (m *marked) checksums(t *testing.T) string {
	t.Helper()
	sums := foreign(t, m.out, "sha256sum", "web.tar")
	if m.as != nil { // a disk from files, not by mounting
		sums += foreign(t, m.out, "sha256sum", "web.raw", "web.qcow2")
	}
	return sums
}

// clear removes the outputs and the store.
func (m *marked) clear(t *testing.T) {
	t.Helper()
	for _, dir := range []string{m.out, m.store} {
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o755))
		if m.as != nil {
			must(t, os.Chown(dir, number(m.as.Uid), number(m.as.Gid)))
		}
	}
}

// atRandom starts a build and waits for a random moment of it: so many lines,
// each a hook or a stage, and a fraction of what one takes. The clock would be
// no measure: other tests run on the same machine.
func (m *marked) atRandom(t *testing.T, w *tiny, cmd *exec.Cmd) (wait func() result, moment string) {
	t.Helper()
	lines, more := m.random.IntN(m.lines+1), time.Duration(m.random.Int64N(int64(200*time.Millisecond)))
	wait = w.start(cmd)
	for !isZombie(cmd.Process.Pid) {
		if said, err := os.ReadFile(cmd.Stdout.(*os.File).Name()); err != nil || strings.Count(string(said), "\n") >= lines {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(more)
	return wait, fmt.Sprintf("line %d of %d and %v", lines, m.lines, more.Round(time.Millisecond))
}

// traces are processes, mounts and loop devices of the world's builds.
func (m *marked) traces(t *testing.T, known []int) []string {
	t.Helper()
	ours := func(text string) bool { return strings.Contains(text, m.mark) || strings.Contains(text, m.dir+"/") }
	var all []string
	for pid := range processes(t) {
		if slices.Contains(known, pid) { // one that is about to end has no environment any more, but locks
			all = append(all, fmt.Sprintf("process %d", pid))
			continue
		}
		proc := fmt.Sprintf("/proc/%d/", pid)
		environ, _ := os.ReadFile(proc + "environ") // it may have ended
		text := string(environ)
		for _, link := range []string{"exe", "cwd", "root"} {
			to, _ := os.Readlink(proc + link)
			text += "\x00" + to
		}
		if pid != os.Getpid() && ours(text) {
			command, _ := os.ReadFile(proc + "cmdline")
			all = append(all, fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(command), "\x00", " ")))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if ours(line) {
			all = append(all, "mount "+line)
		}
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, loop := range loops {
		if file, _ := os.ReadFile(loop); ours(string(file)) {
			all = append(all, "loop device "+loop+": "+string(file))
		}
	}
	return all
}

// noTraces waits a little: the kernel takes a namespace down in its own time.
func (m *marked) noTraces(t *testing.T, known []int) {
	t.Helper()
	var all []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all = m.traces(t, known); len(all) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(all, "\n"))
}

// processes are all processes and their parents.
func processes(t testing.TB) map[int]int {
	t.Helper()
	all := map[int]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		text := string(data)
		fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		must(t, err)
		if fields[0] != "Z" {
			all[pid] = number(fields[1])
		}
	}
	return all
}

// family is a process with all its descendants.
func family(t testing.TB, pid int) []int {
	t.Helper()
	all, parents := []int{pid}, processes(t)
	for i := 0; i < len(all); i++ {
		for p, parent := range parents {
			if parent == all[i] {
				all = append(all, p)
			}
		}
	}
	return all
}

// descendant is the process that many generations below; 0 when there is none
// or no more.
func descendant(t testing.TB, pid, generations int) int {
	t.Helper()
	all := processes(t)
	for ; generations > 0; generations-- {
		child := 0
		for p, parent := range all {
			if parent == pid {
				child = p
			}
		}
		if pid = child; pid == 0 {
			return 0
		}
	}
	return pid
}

// victims are the processes of a build, each the child of the one before.
var victims = []string{"the first process", "the session's init", "the build"}

// TestKill kills builds at random moments: nothing of them is left but files,
// which the next run removes, and that run is right.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMarked(t, newTiny(t, as))
			for round := range rounds(10) {
				m.killAndGoOn(t, round)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func (m *marked) killAndGoOn(t *testing.T, round int) {
	t.Helper()
	m.clear(t)
	w := m.tiny
	if round%2 == 0 { // or in memory
		w = m.with("DIB_NO_TMPFS=1")
	}
	cmd := w.create("web", m.formats)
	wait, moment := m.atRandom(t, w, cmd)
	known := family(t, cmd.Process.Pid)
	generation := round % len(victims)
	hit := kill(t, cmd, generation)
	r := wait()
	t.Logf("round %d: %s, %s: hit %v, exit code %d, %s", round, victims[generation], moment, hit, r.code, lastStage(r))
	if hit && generation > 0 && (r.code != 128+9 || !strings.Contains(r.stderr, "disk-image-create: the build was ended by signal 9")) {
		t.Errorf("want exit code 137 and a word: %v", r)
	}
	m.noTraces(t, known)
	m.outputsWhole(t)
	m.build("web", m.formats)
	m.noTraces(t, nil)
	m.checkDisk("web.raw", 2)
	if sums := m.checksums(t); sums != m.sums {
		t.Errorf("the next run made\n%s, want\n%s", sums, m.sums)
	}
}

// kill kills the build's process of a generation. A build that has just
// started may not have it yet; one that is done has it no more.
func kill(t *testing.T, cmd *exec.Cmd, generation int) bool {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if pid := descendant(t, cmd.Process.Pid, generation); pid != 0 {
			return unix.Kill(pid, unix.SIGKILL) == nil
		}
		if descendant(t, cmd.Process.Pid, 0) == 0 || isZombie(cmd.Process.Pid) {
			return false
		}
	}
	return false
}

func isZombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

// lastStage is how far a build got.
func lastStage(r result) string {
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	return lines[len(lines)-1]
}

// outputsWhole: what has its final name is what it has to be.
func (m *marked) outputsWhole(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(m.path("web.tar")); err == nil {
		if sum := foreign(t, m.out, "sha256sum", "web.tar"); !strings.Contains(m.sums, sum) {
			t.Errorf("half an archive: %s", sum)
		}
	}
	if _, err := os.Stat(m.path("web.raw")); err == nil {
		m.checkDisk("web.raw", 2)
	}
	if _, err := os.Stat(m.path("web.qcow2")); err == nil {
		foreign(t, m.out, "qemu-img", "check", "web.qcow2")
	}
}

// TestSignals stops builds at random moments, as kill does and as a terminal, with
// either signal.
func TestSignals(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMarked(t, newTiny(t, as))
			for round := range rounds(4) {
				m.stop(t, round)
				if t.Failed() {
					return
				}
			}
			m.build("web", m.formats)
			if sums := m.checksums(t); sums != m.sums {
				t.Errorf("the next run made\n%s, want\n%s", sums, m.sums)
			}
		})
	}
}

func (m *marked) stop(t *testing.T, round int) {
	t.Helper()
	if round%3 > 0 { // else on what the one before left
		m.clear(t)
	}
	sig := []syscall.Signal{unix.SIGINT, unix.SIGTERM}[round%2]
	cmd := m.create("web", m.formats)
	group := round%4 < 2
	cmd.SysProcAttr.Setpgid = group
	wait, moment := m.atRandom(t, m.tiny, cmd)
	pid := cmd.Process.Pid
	if group {
		pid = -pid // all of them, as ^C does
	}
	if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
	start := time.Now()
	r := wait()
	t.Logf("round %d: %v, group %v, %s: exit code %d after %v, %s", round, sig, group, moment, r.code, time.Since(start).Round(time.Millisecond), lastStage(r))
	switch {
	case r.code == 128+int(sig):
		if n := strings.Count(r.stderr, "disk-image-create: stopped: "+sig.String()); n != 1 {
			t.Errorf("%d messages: %v", n, r)
		}
	case r.code == -1 && r.stdout == "": // it had not begun: the signal's own effect
	case r.code != 0:
		t.Errorf("want exit code %d: %v", 128+int(sig), r)
	}
	m.nothingLeft()
	m.noTraces(t, nil)
	m.outputsWhole(t)
}
