package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// AddHostFiles adds to the tree what elements ask for from the build host, and
// returns the paths of what was added.
//
// An element asks in a file "host-files" at its top: on each line a path in the
// hooks tree and candidates on the host, of which the first that is there is
// taken; none need be, but one that a variable names must. ~/ is the folder HOME.
// What was a hook in extra-data.d, run every time, is thus content like any
// other: known before anything runs, and part of the keys of the phases that
// can see it. Put into a phase's folder it is seen by that phase only.
func (t *Tree) AddHostFiles(els []Element, env map[string]string) (added []string, err error) {
	for _, e := range els {
		text, err := e.read("host-files")
		if err != nil {
			return nil, err
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			fields := strings.Fields(line)
			if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
				continue
			}
			name, err := t.addHostFile(e, fields, env)
			if err != nil {
				return nil, &FileError{e.Name, "host-files", fmt.Errorf("line %d: %q: %w", number, strings.TrimSpace(line), err)}
			}
			if name != "" {
				added = append(added, name)
			}
		}
	}
	return added, nil
}

func (t *Tree) addHostFile(e Element, fields []string, env map[string]string) (string, error) {
	name := path.Clean(fields[0])
	if len(fields) < 2 || !fs.ValidPath(name) || name == "." {
		return "", errors.New("a path in the hooks tree and one or more on the host are wanted")
	}
	for _, candidate := range fields[1:] {
		file := hostPath(candidate, env)
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			if strings.HasPrefix(candidate, "$") { // the user named it
				return "", fmt.Errorf("%s is %q, which does not exist", candidate, file)
			}
			continue
		}
		if err != nil {
			return "", err
		}
		if !info.Mode().IsRegular() {
			return "", fmt.Errorf("%q is no file", file)
		}
		if _, taken := t.nodes[name]; taken {
			return "", fmt.Errorf("%q is in the hooks tree already", name)
		}
		t.addFolders(path.Dir(name), e)
		t.nodes[name] = &node{File: File{Path: name, Mode: 0o644, Element: e.Name, Builtin: e.Builtin},
			from: os.DirFS(filepath.Dir(file)), name: filepath.Base(file)}
		return name, nil
	}
	return "", nil
}

// hostPath is "" when a variable in it is not set.
func hostPath(candidate string, env map[string]string) string {
	if rest, ok := strings.CutPrefix(candidate, "~/"); ok {
		candidate = "$HOME/" + rest
	}
	missing := false
	file := os.Expand(candidate, func(name string) string {
		missing = missing || env[name] == ""
		return env[name]
	})
	if missing {
		return ""
	}
	return file
}

func (t *Tree) addFolders(dir string, e Element) {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, there := t.nodes[dir]; !there {
			t.nodes[dir] = &node{File: File{Path: dir, Mode: fs.ModeDir | 0o755, Element: e.Name, Builtin: e.Builtin}}
		}
	}
}
