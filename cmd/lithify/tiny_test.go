package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"golang.org/x/sys/unix"
)

// The tests named TestTiny… run the program as it is shipped, with elements
// that make a root file system of busybox.

// tiny is what one test builds in: elements, home, store, work folder and
// folder of outputs of its own, of root or of an ordinary user.
type tiny struct {
	t     testing.TB
	as    *user.User // nil: root
	dir   string     // all that follows is below
	lib   string     // ELEMENTS_PATH
	tmp   string     // TMPDIR
	out   string     // where the program runs
	store string
	env   []string // added to the usual environment; the last of a name wins
	args  []string // options of every build
	names []string // elements
}

// tinyJournal: the usual journal of 64 MiB would be most of a tiny disk.
var tinyJournal = []string{"-n", "--mkfs-journal-size", "4"}

func newTiny(t testing.TB, as *user.User) *tiny {
	t.Helper()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "busybox", "setcap", "setfacl", "setfattr", "mke2fs", "bash")
	w := &tiny{t: t, as: as, dir: openDir(t), args: tinyJournal, names: []string{"tiny", "app"}}
	for name, at := range map[string]*string{"elements": &w.lib, "tmp": &w.tmp, "out": &w.out, "store": &w.store, "home": new(string)} {
		*at = filepath.Join(w.dir, name)
		must(t, os.Mkdir(*at, 0o755))
	}
	must(t, os.CopyFS(w.lib, os.DirFS("testdata/tiny")))
	must(t, filepath.WalkDir(w.lib, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, ".d/") || strings.Contains(path, "/environment.d/") {
			return err
		}
		return os.Chmod(path, 0o755) // CopyFS goes by the umask
	}))
	if as != nil {
		must(t, filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, number(as.Uid), number(as.Gid))
		}))
	}
	return w
}

// openDir is a folder that every user may enter, on a file system that overlay
// can write to.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "lithify-e2e-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err) // of a user's record that the system gave
	}
	return n
}

// shipped is the program, built once as `make` builds it, and the folder with
// its names. TestMain removes the folder.
var shipped struct {
	once sync.Once
	dir  string
	err  error
}

func programPath(t testing.TB, name string) string {
	t.Helper()
	shipped.once.Do(func() { shipped.dir, shipped.err = buildProgram() })
	must(t, shipped.err)
	return filepath.Join(shipped.dir, name)
}

func buildProgram() (string, error) {
	dir, err := os.MkdirTemp("/var/tmp", "lithify-e2e-program-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "lithify"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building the program: %w\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	return dir, errors.Join(os.Symlink("lithify", filepath.Join(dir, imageCommand)), os.Symlink("lithify", filepath.Join(dir, ramdiskCommand)))
}

// ordinary is the user that tests share, with subordinate ids; TestMain removes
// it.
var ordinary struct {
	once sync.Once
	user *user.User
	err  error
}

func ordinaryUser(t testing.TB) *user.User {
	t.Helper()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "useradd", "userdel", "newuidmap")
	ordinary.once.Do(func() { ordinary.user, ordinary.err = addUser(fmt.Sprintf("le2e%d", os.Getpid())) })
	must(t, ordinary.err)
	return ordinary.user
}

func addUser(name string) (*user.User, error) {
	if err := accounts("useradd", "-m", name); err != nil {
		return nil, err
	}
	for file, option := range map[string]string{"/etc/subuid": "--add-subuids", "/etc/subgid": "--add-subgids"} {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if strings.Contains("\n"+string(text), "\n"+name+":") {
			continue
		}
		free := freeSubIDs(string(text))
		if err := accounts("usermod", option, fmt.Sprintf("%d-%d", free, free+65535), name); err != nil {
			return nil, err
		}
	}
	return user.Lookup(name)
}

// freeSubIDs is the first id from 100000 up behind all ranges of a subuid(5).
func freeSubIDs(text string) int {
	free := 100000
	for line := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 {
			free = max(free, number(f[1])+number(f[2]))
		}
	}
	return free
}

// accounts runs a tool that changes the accounts; other tests may do so now.
func accounts(args ...string) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil || strings.Contains(string(out), "mail spool") {
			return nil
		}
		if time.Now().After(end) || !strings.Contains(string(out), "lock") {
			return fmt.Errorf("%q: %w: %s", args, err, out)
		}
	}
}

// leftovers is wrapped around the tests: it removes what they share.
type leftovers struct{ *testing.M }

func (l leftovers) Run() int {
	code := l.M.Run()
	if foreignBox.dir != "" {
		os.RemoveAll(foreignBox.dir)
	}
	if shipped.dir != "" {
		os.RemoveAll(shipped.dir)
	}
	if ordinary.user != nil {
		if err := accounts("userdel", "-f", "-r", ordinary.user.Username); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(code, 1)
		}
	}
	return code
}

// write gives an element's file other content; hooks stay programs.
func (w *tiny) write(path, text string) {
	w.t.Helper()
	at := filepath.Join(w.lib, path)
	must(w.t, os.MkdirAll(filepath.Dir(at), 0o755))
	must(w.t, os.WriteFile(at, []byte(text), 0o755))
	must(w.t, os.Chmod(at, 0o755))
}

// edit appends to an element's file.
func (w *tiny) edit(path, text string) {
	w.t.Helper()
	old, err := os.ReadFile(filepath.Join(w.lib, path))
	must(w.t, err)
	w.write(path, string(old)+text)
}

// with is a copy that has more in the environment.
func (w *tiny) with(env ...string) *tiny {
	c := *w
	c.env = append(slices.Clone(w.env), env...)
	return &c
}

// command is the program with the world's environment and nothing else.
func (w *tiny) command(name string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(programPath(w.t, name), args...)
	cmd.Dir = w.out
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + filepath.Join(w.dir, "home"), "TMPDIR=" + w.tmp, "LITHIFY_STORE=" + w.store, "ELEMENTS_PATH=" + w.lib}, w.env...)
	// A test that ends early takes its builds along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if w.as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(number(w.as.Uid)), Gid: uint32(number(w.as.Gid))}
	}
	return cmd
}

// create is the command of a build of NAME.
func (w *tiny) create(name, formats string, more ...string) *exec.Cmd {
	args := append([]string{"-o", name, "-t", formats}, w.args...)
	return w.command("disk-image-create", append(append(args, more...), w.names...)...)
}

// result is what a build said.
type result struct {
	code           int
	stdout, stderr string
	hooks          []string // that said they ran: install.d/50-app
	reused, ran    int      // steps, by the summary
	nothing        bool     // the summary says that there was nothing to do
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n%s\n--- standard error\n%s", r.code, r.stdout, r.stderr)
}

var (
	ranLine   = regexp.MustCompile(`(?m)ran: .*/([a-z-]+\.d/[^/\n]+)$`)
	stepsLine = regexp.MustCompile(`(?m)(\d+) steps? reused, (\d+) run;`)
)

// runCommand runs a command to its end. Its output goes to files: a pipe would
// be held open by a process that it left behind.
func (w *tiny) runCommand(cmd *exec.Cmd) result {
	w.t.Helper()
	wait := w.start(cmd)
	return wait()
}

// start starts a command; wait gives its result.
func (w *tiny) start(cmd *exec.Cmd) (wait func() result) {
	w.t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(w.dir, "output-")
		must(w.t, err)
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	must(w.t, cmd.Start())
	return func() result {
		w.t.Helper()
		_ = cmd.Wait() // the code is read below
		r := result{code: cmd.ProcessState.ExitCode()}
		for i, text := range []*string{&r.stdout, &r.stderr} {
			data, err := os.ReadFile(files[i].Name())
			must(w.t, err)
			*text = string(data)
			must(w.t, files[i].Close())
			must(w.t, os.Remove(files[i].Name()))
		}
		r.parse(w.t)
		return r
	}
}

func (r *result) parse(t testing.TB) {
	for _, m := range ranLine.FindAllStringSubmatch(r.stdout, -1) {
		r.hooks = append(r.hooks, m[1])
	}
	if m := stepsLine.FindStringSubmatch(r.stdout); m != nil {
		r.reused, r.ran = number(m[1]), number(m[2])
	}
	r.nothing = strings.Contains(r.stdout, "nothing to do")
	if strings.Contains(r.stderr, "panic:") || strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("it panicked:\n%v", r)
	}
}

// build runs a build that must succeed and leave nothing but outputs.
func (w *tiny) build(name, formats string, more ...string) result {
	w.t.Helper()
	r := w.runCommand(w.create(name, formats, more...))
	if r.code != 0 {
		w.t.Fatal(r)
	}
	w.nothingLeft()
	return r
}

// fails runs a build that must fail with a code and, in one message, say all
// the words. It leaves nothing.
func (w *tiny) fails(code int, cmd *exec.Cmd, words ...string) result {
	w.t.Helper()
	r := w.runCommand(cmd)
	if r.code != code {
		w.t.Fatalf("want exit code %d: %v", code, r)
	}
	if n := strings.Count("\n"+r.stderr, "\ndisk-image-create: "); n != 1 {
		w.t.Errorf("%d messages: %v", n, r)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			w.t.Errorf("not said: %q: %v", word, r)
		}
	}
	w.nothingLeft()
	return r
}

// nothingLeft looks for work folders, half outputs, and layers that no record
// keeps.
func (w *tiny) nothingLeft() {
	w.t.Helper()
	for _, left := range w.left() {
		w.t.Errorf("left behind: %s", left)
	}
}

func (w *tiny) left() []string {
	w.t.Helper()
	var all []string
	for _, pattern := range []string{w.tmp + "/*", w.out + "/.*", w.store + "/lithify/run/*", w.store + "/overlay/tempdirs/*", w.store + "/overlay-layers/tmp/*"} {
		paths, err := filepath.Glob(pattern)
		must(w.t, err)
		all = append(all, paths...)
	}
	all = slices.DeleteFunc(all, func(p string) bool { return filepath.Base(p) == ".cache" })
	return append(all, w.unsealed()...)
}

// unsealed lists layers in the store that no record, fold or the base stands on.
func (w *tiny) unsealed() []string {
	w.t.Helper()
	kept := map[string]bool{}
	for _, pattern := range []string{"records/*.json", "folds/*.json", "base.json"} {
		paths, err := filepath.Glob(filepath.Join(w.store, "lithify", pattern))
		must(w.t, err)
		for _, path := range paths {
			var named struct{ Layer string }
			readJSONFile(w.t, path, &named)
			kept[named.Layer] = true
		}
	}
	parents := map[string]string{}
	for _, name := range []string{"layers.json", "volatile-layers.json"} {
		var layers []struct{ ID, Parent string }
		path := filepath.Join(w.store, "overlay-layers", name)
		if _, err := os.Stat(path); err == nil {
			readJSONFile(w.t, path, &layers)
		}
		for _, l := range layers {
			parents[l.ID] = l.Parent
		}
	}
	for id := range kept {
		for at := parents[id]; at != ""; at = parents[at] {
			kept[at] = true
		}
	}
	var all []string
	folders, _ := os.ReadDir(filepath.Join(w.store, "overlay")) // none before the first build
	for _, d := range folders {
		if len(d.Name()) == 64 && !kept[d.Name()] {
			all = append(all, "layer folder "+d.Name())
		}
	}
	for id := range parents {
		if !kept[id] {
			all = append(all, "layer "+id)
		}
	}
	return all
}

func readJSONFile(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v: %q", path, err, data)
	}
}

// path is that of an output.
func (w *tiny) path(name string) string { return filepath.Join(w.out, name) }

// mark is what shows that a file is the same one, untouched.
func (w *tiny) mark(name string) string {
	w.t.Helper()
	var st unix.Stat_t
	must(w.t, unix.Lstat(w.path(name), &st))
	return fmt.Sprintf("%s inode %d, %d bytes, of %d.%09d", name, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
}

// foreign runs a foreign program, which must like what it sees.
func foreign(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, name)
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &out)
	}
	return out.String()
}

// sameBits compares two files.
func sameBits(t testing.TB, a, b string) {
	t.Helper()
	if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
		t.Errorf("cmp: %v: %s", err, out)
	}
}

// tinyPeople are the two kinds of users.
func tinyPeople(t testing.TB) map[string]*user.User {
	t.Helper()
	return map[string]*user.User{"root": nil, "user": ordinaryUser(t)}
}
