package elements

import (
	"maps"
	"strings"
	"testing"
)

// TestBuiltinElementsAreSound reads every declarative file of every built-in
// element, so that a slip in one is found without a build.
func TestBuiltinElementsAreSound(t *testing.T) {
	l := Library{Builtin()}
	everything := map[string]string{"ARCH": "amd64"}
	for _, name := range l.Names() {
		e, _, err := l.load(name)
		if err != nil {
			t.Error(err)
			continue
		}
		all := []Element{e}
		if _, err := Merge(all); err != nil {
			t.Error(err)
		}
		if _, err := PackageInstalls(all, everything); err != nil && !strings.Contains(err.Error(), "is not set") {
			t.Error(err)
		}
		if _, err := PackageMaps(all); err != nil {
			t.Error(err)
		}
		if _, err := MergeServiceMaps(all); err != nil {
			t.Error(err)
		}
		for _, dep := range e.Deps {
			if _, found, _ := l.load(dep); !found && !isProvided(t, l, dep) {
				t.Errorf("element '%s' depends on '%s', which nobody is or provides", name, dep)
			}
		}
	}
}

func isProvided(t *testing.T, l Library, name string) bool {
	t.Helper()
	return len(l.provided()[name]) > 0
}

// TestDebianMinimal plans the image of the README as a build does.
func TestDebianMinimal(t *testing.T) {
	l := Library{Builtin()}
	els, err := l.Resolve(Assemble([]string{"debian-minimal", "vm", "devuser"}, AssembleOptions{Arch: "amd64"})...)
	if err != nil {
		t.Fatal(err)
	}
	if els[0].Name != "base" || els[1].Name != "debian-minimal" || !els[0].Builtin {
		t.Errorf("order: %s", namesOf(els))
	}
	if owner, _, data, err := BlockDeviceConfig(els, "amd64"); err != nil || owner != "block-device-mbr" || len(data) == 0 {
		t.Errorf("layout: %q, %q, %v", owner, data, err)
	}
	tree := mustMerge(t, els...)
	if len(tree.Hooks(Root)) == 0 || len(tree.Hooks(Install)) == 0 {
		t.Error("no hooks")
	}
	for _, p := range Phases() {
		for _, h := range tree.Hooks(p) {
			if h.Element == "" || !h.Builtin {
				t.Errorf("%+v", h)
			}
		}
	}
	env := sourceTree(t, tree)
	if env["DISTRO_NAME"] != "debian" || env["DIB_RELEASE"] == "" {
		t.Errorf("environment: %v", env)
	}
	if lists, err := PackageInstalls(els, env); err != nil || len(lists) == 0 {
		t.Errorf("packages: %v, %v", lists, err)
	}
	if err := tree.LinkInstallTypes(env); err != nil {
		t.Error(err)
	}
}

func sourceTree(t *testing.T, tree *Tree, more ...string) map[string]string {
	t.Helper()
	files, warnings := tree.EnvironmentFiles()
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	texts := map[string]string{}
	for _, f := range files {
		data, err := tree.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimPrefix(f, environmentDir+"/")] = string(data)
	}
	given := map[string]string{"ARCH": "amd64", "PATH": "/usr/bin:/bin", "IMAGE_NAME": "x", "DIB_DEV_USER_USERNAME": "me"}
	var list []string
	for name := range maps.All(given) {
		list = append(list, name+"="+given[name])
	}
	env, trace, err := source(t, append(list, more...), texts)
	if err != nil {
		t.Fatalf("%v\n%s", err, trace)
	}
	return env
}
