package ramdisk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

var lddLibrary = regexp.MustCompile(`^\t(?:(\S+) => )?(/\S+)? ?(?:\(0x|not found)`)

// TestClosureAsLdd compares what is read from the headers with what the loader says,
// for every program of this machine.
func TestClosureAsLdd(t *testing.T) {
	blockdevtest.Need(t, "ldd")
	programs := objectsIn(t, "/usr/bin", "/usr/sbin")
	out, err := exec.Command("ldd", programs...).Output() // fails for static programs
	if len(out) == 0 {
		t.Fatalf("ldd: %v", err)
	}
	host := newTree("/")
	l := newLoader(host)
	for program, want := range readLdd(string(out)) {
		got, err := l.closure(program)
		var missing *missingLibrary
		if errors.As(err, &missing) && want == nil {
			continue // the loader misses it too
		}
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		var files []string
		for _, g := range got {
			files = append(files, host.follow(g).real)
		}
		for i, w := range want {
			want[i] = host.follow(w).real
		}
		slices.Sort(files)
		slices.Sort(want)
		wanted := slices.Compact(want)
		// What a program only opens by itself, ldd does not know.
		files = slices.DeleteFunc(slices.Compact(files), func(f string) bool { return !slices.Contains(wanted, f) && isWanted(l, f) })
		if !slices.Equal(files, wanted) {
			t.Errorf("%s needs\n%q, says ldd, and not\n%q", program, wanted, files)
		}
	}
}

// isWanted says whether some object opens a library by itself.
func isWanted(l *loader, file string) bool {
	for _, o := range l.objects {
		for _, name := range o.o.wanted {
			if l.t.follow(filepath.Join(filepath.Dir(file), name)).real == file {
				return true
			}
		}
	}
	return false
}

func objectsIn(t *testing.T, dirs ...string) (programs []string) {
	t.Helper()
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			// ldd, unlike the kernel, takes $ORIGIN for the folder of a link.
			at, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
			if err != nil || slices.Contains(programs, at) {
				continue
			}
			if o, err := readObject(at); err == nil && o.interp != "" {
				programs = append(programs, at)
			}
		}
	}
	if len(programs) < 100 {
		t.Fatalf("only %d programs in %q", len(programs), dirs)
	}
	return programs
}

// readLdd gives the libraries of each program; nil where one is missing.
func readLdd(out string) map[string][]string {
	all := map[string][]string{}
	program, broken := "", false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutSuffix(line, ":"); ok && strings.HasPrefix(name, "/") {
			program, broken = name, false
			all[program] = []string{}
			continue
		}
		m := lddLibrary.FindStringSubmatch(line)
		switch {
		case m == nil || broken:
		case strings.Contains(line, "not found"):
			all[program], broken = nil, true
		case m[2] != "":
			all[program] = append(all[program], m[2])
		}
	}
	return all
}
