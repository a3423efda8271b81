package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inTemp makes the working folder a fresh one: outputs are named relative to it.
func inTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	return dir
}

func openTest(t *testing.T, base string, overwrite bool) *outputFolder {
	t.Helper()
	f, err := openOutputs(t.Context(), base, overwrite, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func publish(t *testing.T, f *outputFolder, suffix, content string, kinds ...string) {
	t.Helper()
	o, err := f.New(suffix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.File().WriteString(content); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(t.Context(), kinds); err != nil {
		t.Fatal(err)
	}
}

// files lists a folder, times in names replaced by a word.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	dated := regexp.MustCompile(`-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d`)
	var names []string
	for _, e := range entries {
		names = append(names, dated.ReplaceAllString(e.Name(), "-DATE"))
	}
	return names
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOutputOldOnesAreKept(t *testing.T) {
	dir := inTemp(t)
	f := openTest(t, "web", false)
	publish(t, f, ".raw", "one", "md5", "sha256")
	publish(t, f, ".raw", "two", "sha256")
	publish(t, f, ".raw", "three")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"web-DATE-2.raw", "web-DATE-2.raw.sha256", "web-DATE.raw", "web-DATE.raw.md5", "web-DATE.raw.sha256", "web.raw"}
	if got := files(t, dir); !slices.Equal(got, want) {
		// the two may have been made in two different seconds
		want = []string{"web-DATE.raw", "web-DATE.raw.md5", "web-DATE.raw.sha256", "web-DATE.raw", "web-DATE.raw.sha256", "web.raw"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
	if content(t, "web.raw") != "three" {
		t.Error("the new one is not in place")
	}
}

func TestOutputOverwrite(t *testing.T) {
	dir := inTemp(t)
	f := openTest(t, "web", true)
	publish(t, f, ".raw", "one", "md5")
	publish(t, f, ".raw", "two", "sha256")
	f.Close()
	if got := files(t, dir); !slices.Equal(got, []string{"web.raw", "web.raw.sha256"}) {
		t.Errorf("got %q", got)
	}
}

// TestChecksumsByCoreutils lets md5sum and sha256sum judge, strange names
// included.
func TestChecksumsByCoreutils(t *testing.T) {
	inTemp(t)
	if err := os.Mkdir("sub", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{"sub/web", "with blank", "new\nline", `back\slash`} {
		f := openTest(t, base, false)
		publish(t, f, ".raw", strings.Repeat("x", 3<<20)+base, "md5", "sha256")
		for _, kind := range checksumKinds {
			out, err := exec.Command(kind+"sum", "--check", "--strict", base+".raw."+kind).CombinedOutput()
			if err != nil {
				t.Errorf("%q: %s: %s", base, kind, out)
			}
		}
	}
}

// TestOutputCutShort stops a commit at each of its steps, by a folder in the
// way of the next one or a context that has ended: the name holds the old
// output, whole, and what is left over goes.
func TestOutputCutShort(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx   context.Context
		block string // made before Commit
	}{
		"summing up":              {ended, ""},
		"writing a checksum":      {t.Context(), ".web.lithify/web.raw.md5"},
		"an old checksum's place": {t.Context(), "OLD.md5/x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := inTemp(t)
			f := openTest(t, "web", false)
			publish(t, f, ".raw", "old", "md5")
			info, err := os.Stat("web.raw")
			if err != nil {
				t.Fatal(err)
			}
			o, err := f.New(".raw")
			if err != nil {
				t.Fatal(err)
			}
			o.File().WriteString("new")
			if c.block != "" {
				block := strings.Replace(c.block, "OLD", "web-"+info.ModTime().Local().Format("2006.01.02-15.04.05")+".raw", 1)
				if err := os.MkdirAll(block, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			if err := o.Commit(c.ctx, []string{"md5"}); err == nil {
				t.Fatal("the commit went through")
			}
			if got := content(t, "web.raw"); got != "old" {
				t.Errorf("web.raw holds %q", got)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			for _, n := range files(t, dir) {
				if strings.HasPrefix(n, ".") {
					t.Errorf("%q is left over", n)
				}
			}
		})
	}
}

func TestOutputAbort(t *testing.T) {
	dir := inTemp(t)
	f := openTest(t, "web", false)
	o, err := f.New(".raw")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Abort(), o.Abort(), f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
}

// TestOutputOfDeadProcess: what was left by a build that died is removed, for
// its lock is held by nobody.
func TestOutputOfDeadProcess(t *testing.T) {
	dir := inTemp(t)
	if err := os.MkdirAll(".web.lithify/dib-manifests", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".web.lithify/web.raw", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openTest(t, "web", false)
	publish(t, f, ".raw", "whole")
	if _, err := f.Manifests(); err != nil {
		t.Error(err)
	}
	f.Close()
	if got := files(t, dir); !slices.Equal(got, []string{"web.raw"}) {
		t.Errorf("got %q", got)
	}
}

// TestOutputsOfOneNameWait: of several builds to one name only one is at it.
func TestOutputsOfOneNameWait(t *testing.T) {
	dir := inTemp(t)
	var group sync.WaitGroup
	var busy, waited sync.Mutex
	waits := 0
	for range 8 {
		group.Go(func() {
			f, err := openOutputs(t.Context(), "web", false, func() { waited.Lock(); waits++; waited.Unlock() })
			if err != nil {
				t.Error(err)
				return
			}
			if !busy.TryLock() {
				t.Error("two at once")
				return
			}
			time.Sleep(5 * time.Millisecond)
			o, err := f.New(".raw")
			if err != nil {
				t.Error(err)
			} else if err := o.Commit(t.Context(), nil); err != nil {
				t.Error(err)
			}
			busy.Unlock()
			f.Close()
		})
	}
	group.Wait()
	if waits == 0 {
		t.Error("nobody waited")
	}
	if got := files(t, dir); len(got) != 8 || got[len(got)-1] != "web.raw" {
		t.Errorf("got %q", got)
	}
}

func TestOutputLockEndsWithContext(t *testing.T) {
	inTemp(t)
	openTest(t, "web", false)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := openOutputs(ctx, "web", false, func() { cancel(signalError{unix.SIGINT}) })
	if exitCode(err) != exitInterrupted {
		t.Errorf("got %v", err)
	}
}

func TestManifestsAreReplacedWhole(t *testing.T) {
	dir := inTemp(t)
	for _, name := range []string{"first", "second"} {
		f := openTest(t, "web", false)
		m, err := f.Manifests()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := f.PublishManifests(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got := files(t, "web.d/dib-manifests"); !slices.Equal(got, []string{name}) {
			t.Errorf("got %q", got)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"web.d"}) {
		t.Errorf("got %q", got)
	}
}

func TestRecords(t *testing.T) {
	inTemp(t)
	r := outputRecords{Dir: "store/outputs"}
	write := func(text string) {
		if err := os.WriteFile("web.raw", []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if r.Current("web.raw", "k") {
		t.Error("current before it was saved")
	}
	if err := r.Save("web.raw", "k"); err != nil {
		t.Fatal(err)
	}
	if abs, _ := filepath.Abs("web.raw"); !r.Current("web.raw", "k") || !r.Current(abs, "k") || r.Current("web.raw", "other") {
		t.Error("the record is not found by its path and key alone")
	}
	old, _ := os.Stat("web.raw")
	for name, change := range map[string]func(){
		"other size":  func() { write("longer") },
		"other time":  func() { os.Chtimes("web.raw", time.Time{}, old.ModTime().Add(time.Nanosecond)) },
		"gone":        func() { os.Remove("web.raw") },
		"torn record": func() { file, _, _ := r.file("web.raw"); os.WriteFile(file, []byte(`{"path":`), 0o600) },
		"forgotten":   func() { r.Forget("web.raw") },
	} {
		write("one")
		os.Chtimes("web.raw", time.Time{}, old.ModTime())
		if err := r.Save("web.raw", "k"); err != nil || !r.Current("web.raw", "k") {
			t.Fatalf("before %s: %v", name, err)
		}
		if change(); r.Current("web.raw", "k") {
			t.Errorf("%s: still current", name)
		}
	}
}

func TestEnsureChecksums(t *testing.T) {
	inTemp(t)
	if err := os.WriteFile("a.raw", []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("a.raw.md5", []byte("kept"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := ensureChecksums(t.Context(), "a.raw", checksumKinds); err != nil {
		t.Fatal(err)
	}
	if content(t, "a.raw.md5") != "kept" {
		t.Error("one that was there was written anew")
	}
	if out, err := exec.Command("sha256sum", "--check", "a.raw.sha256").CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
}
