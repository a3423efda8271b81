package elements

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// readOne reads the ramdisk of one element that has these files.
func readOne(t testing.TB, files map[string]string) (Ramdisk, error) {
	t.Helper()
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	els := []Element{{Name: "one", FS: dir}}
	tree, err := Merge(els)
	if err != nil {
		t.Fatal(err)
	}
	return ReadRamdisk(els, tree, map[string]string{"DIB_WHERE": "/opt", "EMPTY": ""})
}

func TestReadRamdisk(t *testing.T) {
	r, err := readOne(t, map[string]string{
		"ramdisk.yaml": "init: {begin: x/begin}\nbinaries: [a, '${DIB_WHERE}/b${EMPTY}', {name: c, optional: true}]\nmodules: only\nfirmware:\n- fw\n" +
			"files:\n- ${DIB_WHERE}/*.conf\n- {image: /etc/a, to: /b, mode: 0750}\n- {element: x/begin, to: /c, optional: no}\n",
		"x/begin": "", "init.d/20-b": "b", "init.d/10-a": "a", "init.d/9-c": "c", "udev.d/z.rules": "r",
		"binary-deps.d/deps": "one two # three\n\n\tfour", "dracut-drivers.d/d": "drv\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range slices.Concat(r.Binaries, r.Modules, r.Firmware, r.Drivers) {
		names = append(names, w.Name+" ("+w.From+")")
	}
	if got, want := strings.Join(names, "\n"), `a (element 'one', ramdisk.yaml, line 2)
/opt/b (element 'one', ramdisk.yaml, line 2)
c (element 'one', ramdisk.yaml, line 2)
one (element 'one', binary-deps.d/deps, line 1)
two (element 'one', binary-deps.d/deps, line 1)
four (element 'one', binary-deps.d/deps, line 3)
only (element 'one', ramdisk.yaml, line 3)
fw (element 'one', ramdisk.yaml, line 5)
drv (element 'one', dracut-drivers.d/d, line 1)`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !r.Binaries[2].Optional || r.Binaries[0].Optional || r.Binaries[0].Listed || !r.Binaries[3].Listed {
		t.Errorf("%+v", r.Binaries)
	}
	if r.Begin == nil || r.End != nil || len(r.Rules) != 1 || len(r.Fragments) != 3 || r.Fragments[0].Name != "10-a" || r.Fragments[2].Name != "9-c" {
		t.Errorf("%+v", r)
	}
	if f := r.Files; len(f) != 3 || f[0].Name != "/opt/*.conf" || f[1].Mode != fs.FileMode(0o750) || f[1].To != "/b" || f[2].Data == nil || f[2].To != "/c" {
		t.Errorf("%+v", f)
	}
}

// FuzzRamdisk: any text is read or refused, with a line.
func FuzzRamdisk(f *testing.F) {
	for _, text := range []string{"", "binaries: [a]", "files:\n- {image: /x, to: /y, mode: '0644'}", "init: {begin: x}", "modules: {a: b}", "files: [[]]", "- ", "binaries: ['${']", "binaries: ['${X}']"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readOne(t, map[string]string{"ramdisk.yaml": text})
		if err != nil && !strings.Contains(err.Error(), "element 'one', ramdisk.yaml") {
			t.Errorf("nothing says where: %v", err)
		}
		for _, w := range slices.Concat(r.Binaries, r.Modules, r.Firmware) {
			if err == nil && w.From == "" {
				t.Errorf("nobody wanted %q", w.Name)
			}
		}
	})
}
