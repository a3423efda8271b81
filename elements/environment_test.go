package elements

import (
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEnvironmentFiles(t *testing.T) {
	a := element(t, "a", map[string]string{"environment.d/10-x.bash": "", "environment.d/100-x": "", "environment.d/x y": "", "environment.d/sub/x": ""})
	b := element(t, "b", map[string]string{"environment.d/20-y": "", "environment.d/9-z": "", "environment.d/.hidden": ""})
	link(t, b, "environment.d/30-link", "20-y")
	files, warnings := mustMerge(t, a, b).EnvironmentFiles()
	want := "environment.d/10-x.bash environment.d/100-x environment.d/20-y environment.d/30-link environment.d/9-z"
	if got := strings.Join(files, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(warnings) != 2 || !strings.HasPrefix(warnings[0], "environment.d/100-x of element 'a' is read before environment.d/20-y of element 'b'") {
		t.Errorf("warnings: %q", warnings)
	}
}

// source writes files to environment.d and sources them as a build does.
func source(t *testing.T, env []string, files map[string]string) (map[string]string, string, error) {
	t.Helper()
	bash, dir := need(t, "bash"), filepath.Join(t.TempDir(), "it's hooks")
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names = append(names, "environment.d/"+name)
		write(t, dir, map[string]string{"environment.d/" + name: files[name]})
	}
	argv := SourceScript(dir, names)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(bash, argv[1:]...)
	cmd.Env, cmd.Stderr, cmd.ExtraFiles = env, &stderr, []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, stderr.String(), err
	}
	got, err := ParseEnvironment(out)
	return got, stderr.String(), err
}

func TestSource(t *testing.T) {
	got, trace, err := source(t, []string{"GIVEN=1", "PATH=/usr/bin:/bin"}, map[string]string{
		"10-a": "export A=1\nlocal_only=2\nexport LINES=$'x\\ny=z'\n[ $# -eq 0 ]\n",
		"20-b": "export B=${A}2\nreturn 0\nexport NEVER=1\n",
		"30-c": "export GIVEN=${GIVEN}3 PATH=/nowhere\nenv() { echo wrong; }\nexport HERE=$(cd / && echo ${0%/*})\n",
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, trace)
	}
	here := got["HERE"]
	delete(got, "HERE")
	want := map[string]string{"A": "1", "LINES": "x\ny=z", "B": "12", "GIVEN": "13", "PATH": "/nowhere"}
	if !maps.Equal(got, want) || !strings.HasSuffix(here, "/it's hooks") {
		t.Errorf("got %q, want %q; here %q", got, want, here)
	}
	if !strings.Contains(trace, "+ export A=1") || strings.Contains(trace, "set +x") || !strings.Contains(trace, "Sourcing environment file") {
		t.Errorf("trace: %s", trace)
	}
}

func TestSourceFails(t *testing.T) {
	for name, text := range map[string]string{
		"command": "false\n", "unset": "echo $no_such_variable\n", "pipe": "false | true\n", "exit 1": "exit 1\n",
		"exit 0": "exit 0\n", "return 1": "return 1\n", "syntax": "if\n",
	} {
		if got, _, err := source(t, []string{"PATH=/usr/bin:/bin"}, map[string]string{"10-a": text}); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

func TestParseEnvironment(t *testing.T) {
	got, err := ParseEnvironment([]byte("A=1\x00B=\x00C==\n\x00_=x\x00SHLVL=1\x00PWD=/\x00"))
	if want := map[string]string{"A": "1", "B": "", "C": "=\n"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "A=1", "A\x00", "=1\x00", "\x00", "A=1\x00B"} {
		if got, err := ParseEnvironment([]byte(bad)); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

// FuzzParseEnvironment: what is accepted holds every entry, the last of a name,
// and nothing that was not there.
func FuzzParseEnvironment(f *testing.F) {
	f.Add([]byte("A=1\x00B=\x00"))
	f.Add([]byte("A=1\x00B"))
	f.Add([]byte("A=1\x00A=2=\n\x00PWD=x\x00BASH_FUNC_f%%=() {\n}\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := ParseEnvironment(data)
		if err != nil {
			if !strings.Contains(err.Error(), environmentDir) || env != nil {
				t.Errorf("%q: got %q, %v", data, env, err)
			}
			return
		}
		want := map[string]string{}
		for entry := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00"), "\x00") {
			name, value, ok := strings.Cut(entry, "=")
			if !ok || name == "" {
				t.Fatalf("accepted: %q", entry)
			}
			if !slices.Contains([]string{"_", "SHLVL", "PWD", "OLDPWD"}, name) {
				want[name] = value
			}
		}
		if !maps.Equal(env, want) || data[len(data)-1] != 0 {
			t.Errorf("%q: got %q, want %q", data, env, want)
		}
	})
}
