package elements

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

const environmentDir = "environment.d"

var environmentNames = regexp.MustCompile(`^[0-9A-Za-z_.-]+$`)

// EnvironmentName tells whether a file of environment.d with this name is
// sourced. Unlike a hook's it may have dots.
func EnvironmentName(name string) bool { return environmentNames.MatchString(name) }

// EnvironmentFiles returns the files that every phase sources, in the order in
// which it does: by the bytes of their names, as element authors are used to.
// A warning is given for each pair that numbers would put the other way round.
func (t *Tree) EnvironmentFiles() (files, warnings []string) {
	var names []string
	for _, n := range t.nodes {
		dir, name := path.Split(n.Path)
		if dir == environmentDir+"/" && t.mode(n, Root).IsRegular() && environmentNames.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		files = append(files, environmentDir+"/"+name)
		if i > 0 && compareNumbers(names[i-1], name) > 0 {
			warnings = append(warnings, t.orderWarning(names[i-1], name))
		}
	}
	return files, warnings
}

func (t *Tree) orderWarning(first, second string) string {
	a, b := t.nodes[environmentDir+"/"+first], t.nodes[environmentDir+"/"+second]
	return fmt.Sprintf("%s of element '%s' is read before %s of element '%s': the order is by letters, not by numbers; give both numbers the same width",
		a.Path, a.Element, b.Path, b.Element)
}

// SourceScript returns a command that reads files (paths in the hooks tree
// that is written at dir) one after the other and then writes the environment
// to file descriptor 3, for ParseEnvironment. The caller runs it on the build
// host with the environment that the files shall see.
//
// The options of the shell are those that element authors expect: errexit,
// nounset, pipefail, and tracing while a file is read. Traces and what the
// files print go to stdout and stderr. The exit status is not 0 when a file
// fails or calls exit with another one; with `exit 0` in a file nothing is
// written to descriptor 3, which ParseEnvironment takes for a mistake.
func SourceScript(dir string, files []string) []string {
	var script strings.Builder
	script.WriteString("set -e -u -o pipefail\n")
	for _, f := range files {
		file := quote(path.Join(dir, f))
		fmt.Fprintf(&script, "echo dib-run-parts Sourcing environment file %s >&2\n", file)
		// Nothing of ours is visible to the file: no variable, no argument.
		fmt.Fprintf(&script, "set -x\nsource %s\n{ set +x; } 2>/dev/null\n", file)
	}
	// A file may have changed PATH, or have defined a function called env.
	script.WriteString("command -p env -0 >&3\n")
	// $0 lies in the tree because files look for their neighbours by it.
	return []string{"bash", "--noprofile", "--norc", "-c", script.String(), path.Join(dir, "dib-run-parts")}
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ParseEnvironment reads what the command of SourceScript wrote: NAME=VALUE,
// each ended by a zero byte. What the shell keeps for itself (_, SHLVL, PWD,
// OLDPWD) is left out. An empty or torn text is an error.
func ParseEnvironment(data []byte) (map[string]string, error) {
	env := map[string]string{}
	if len(data) == 0 {
		return nil, fmt.Errorf("reading the environment after %s: nothing was written; does a file there call exit?", environmentDir)
	}
	for len(data) > 0 {
		entry, rest, ended := bytes.Cut(data, []byte{0})
		if !ended {
			return nil, fmt.Errorf("reading the environment after %s: it ends in the middle of %.60q", environmentDir, entry)
		}
		data = rest
		name, value, ok := strings.Cut(string(entry), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("reading the environment after %s: found %.60q, want NAME=VALUE", environmentDir, entry)
		}
		env[name] = value
	}
	for _, own := range []string{"_", "SHLVL", "PWD", "OLDPWD"} {
		delete(env, own)
	}
	return env, nil
}
