package rootfs

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/lithify/lithify/elements"
)

// view is what the hooks of one phase can see of the hooks tree.
//
// Inside the target that is everything but the hooks of other phases; outside,
// the whole tree. Hashed is, for each hook, itself and every visible file that
// is not a hook: hooks do not read each other. An element that does sets
// DIB_HOOKS_VIEW=full, which shows and hashes everything.
//
// environment.d is sourced by the driver, which hands its variables to hooks: a
// phase in which no file says "environment.d" is not shown its files, and what
// they set under names of DIB_ counts for phases whose other files have the
// name. Else each element that sets one would make every layer anew. Other names
// (DEBIAN_FRONTEND, PATH) may be meant for programs and are handed to all.
//
// The folders of ramdisks (init.d and so on, elements.RamdiskDirs) are hidden in the
// same way from phases in which no file names them: a changed fragment of /init makes
// no layer anew.
type view struct {
	phase elements.Phase
	masks []string          // folders that are hidden: those of other phases from hooks inside, environment.d
	files map[string]string // digest by path of the visible files that are not hooks
	hooks map[string]string // digest by path of the phase's own hooks
	texts map[string][]byte // bytes of the phase's own hooks
	names names
	shown names // of the files that are not hooks only
}

// newView reads what the phase's hooks can see.
func newView(t *elements.Tree, phase elements.Phase, full bool) (*view, error) {
	v := &view{phase: phase, files: map[string]string{}, hooks: map[string]string{}, texts: map[string][]byte{},
		names: names{words: map[string]bool{}}, shown: names{words: map[string]bool{}}}
	if !phase.Outside() && !full {
		v.masks = otherPhases(t, phase)
	}
	isHook := hookPaths(t, phase)
	type read struct {
		elements.File
		data []byte
	}
	later := map[string][]read{} // by folder: what is shown when some file names the folder
	reads := map[string]bool{}
	for _, f := range append(t.Files(), t.Dirs()...) {
		own := under(f.Path, phase.Dir())
		if hiddenFrom(v.masks, f.Path) || under(f.Path, cacheKeys) || isHook[f.Path] && !own && !full {
			continue
		}
		data, err := content(t, f, isHook[f.Path])
		if err != nil {
			return nil, err
		}
		if dir := quietDir(f.Path); dir != "" && !isHook[f.Path] {
			later[dir] = append(later[dir], read{f, data})
			continue
		}
		text := bytes.ReplaceAll(data, []byte("etc/init.d"), nil) // which is the image's
		for _, dir := range quietDirs {
			reads[dir] = reads[dir] || bytes.Contains(text, []byte(dir))
		}
		v.take(f, data, isHook[f.Path] && own, isHook[f.Path])
	}
	for _, dir := range sortedKeys(later) {
		show := full || reads[dir] || dir != environmentDir && !slices.Contains(elements.Phases(), phase)
		for _, each := range later[dir] {
			if show {
				v.take(each.File, each.data, false, false)
			} else if dir == environmentDir {
				v.names.scanPrograms(each.data)
			}
		}
		if !show {
			v.masks = append(v.masks, dir)
		}
	}
	return v, nil
}

// environmentDir is the folder of the hooks tree that the driver sources.
const environmentDir = "environment.d"

// quietDirs are folders that a phase is shown when a file of it names them.
var quietDirs = append(elements.RamdiskDirs(), environmentDir)

// quietDir is the one of them that a path is in, or "".
func quietDir(p string) string {
	dir, _, _ := strings.Cut(p, "/")
	if slices.Contains(quietDirs, dir) {
		return dir
	}
	return ""
}

func content(t *elements.Tree, f elements.File, hook bool) ([]byte, error) {
	read := t.Content // what a link of static/ names is the image's, not the host's
	if hook {
		read = t.Open
	}
	data, err := read(f.Path)
	if err != nil {
		return nil, fmt.Errorf("reading %q of element %q: %w", f.Path, f.Element, err)
	}
	return data, nil
}

func (v *view) take(f elements.File, data []byte, ownHook, anyHook bool) {
	sum := fmt.Sprintf("%v %s %s", f.Mode, f.Link, digest(data))
	v.names.scan(data)
	if ownHook {
		v.hooks[f.Path], v.texts[f.Path] = sum, data
		return
	}
	v.files[f.Path] = sum
	if !anyHook {
		v.shown.scan(data)
	}
}

// hookPaths are the hooks of the contract's phases, and of phase.
func hookPaths(t *elements.Tree, phase elements.Phase) map[string]bool {
	paths := map[string]bool{}
	for _, p := range append(elements.Phases(), phase) {
		for _, h := range t.Hooks(p) {
			paths[h.Path] = true
		}
	}
	return paths
}

// otherPhases lists the folders of the other phases that exist in the tree.
func otherPhases(t *elements.Tree, phase elements.Phase) []string {
	var dirs []string
	for _, p := range elements.Phases() {
		if p == phase {
			continue
		}
		for _, f := range t.Files() {
			if under(f.Path, p.Dir()) {
				dirs = append(dirs, p.Dir())
				break
			}
		}
	}
	return dirs
}

func hiddenFrom(masks []string, p string) bool {
	for _, m := range masks {
		if under(p, m) {
			return true
		}
	}
	return false
}

// under says whether p is dir or below it.
func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// uses says whether a hook can reach a command: by naming it, or through a file
// that is not a hook (a script in bin) that holds every word of its name. Too
// often is safe: it only keys more than needed.
func (v *view) uses(hook, command string) bool {
	if v.calls(hook, command) {
		return true
	}
	for _, part := range strings.Split(command, "-") {
		if !v.shown.words[part] {
			return false
		}
	}
	return true
}

// calls says whether a hook names a command itself.
func (v *view) calls(hook, command string) bool {
	word := regexp.MustCompile(`(^|[^A-Za-z0-9_-])` + regexp.QuoteMeta(command) + `($|[^A-Za-z0-9_])`)
	return word.Match(v.texts[hook])
}

// inputs are the files that the phase's hooks can see, and the variables that
// they get: each by name, so that a rebuild can be explained. Values that look
// secret are digested together: a record must not help to guess one.
func (v *view) inputs(keyed Environment) inputs {
	in := inputs{}
	for name, sum := range v.files {
		in["file "+name] = sum
	}
	secret := map[string]string{}
	for name, value := range keyed {
		if IsSecret(name) {
			secret[name] = value
			continue
		}
		in.add("variable "+name, []byte(value))
	}
	if len(secret) > 0 {
		in["secret variables"] = digestMap(secret)
	}
	return in
}

// IsSecret says whether the value of a variable of this name is one that no
// record, list or message may show.
func IsSecret(name string) bool { return secretName.MatchString(name) }

var secretName = regexp.MustCompile(`(?i)PASS|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH`)

// command runs a hook of the hooks tree that is at dir. One that no kernel knows,
// since it has neither "#!" nor a program's head, is the shell's, as when
// dib-run-parts runs it.
func (v *view) command(h elements.Hook, dir string) []string {
	file, text := path.Join(dir, h.Path), v.texts[h.Path]
	if bytes.HasPrefix(text, []byte("#!")) || bytes.HasPrefix(text, []byte("\x7fELF")) || len(text) == 0 {
		return []string{file}
	}
	return []string{"/bin/sh", "-c", `command -v bash > /dev/null && exec bash "$0"; exec sh "$0"`, file}
}
