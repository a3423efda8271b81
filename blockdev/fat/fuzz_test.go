package fat

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzTree makes files of any names, a zero byte between them, and reads back what was
// written; what is refused is refused before anything is written.
func FuzzTree(f *testing.F) {
	f.Add("a\x00A/b\x00long name.text\x00prefix~1\x00prefix one\x00prefix two", uint8(0))
	f.Add("\xff\x00a:b\x00x.\x00 y\x00...z\x00é\x00É", uint8(1))
	f.Add("CON\x00aux.txt\x00~\x00~1\x00a~1b\x00.a.b.c", uint8(2))
	f.Fuzz(func(t *testing.T, names string, kind uint8) {
		root, want := t.TempDir(), map[string]string{}
		for _, name := range strings.Split(names, "\x00") {
			if name = strings.TrimPrefix(filepath.Clean("/"+name), "/"); name == "" {
				continue
			}
			path := filepath.Join(root, name)
			if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
				t.Skip("no tree")
			}
			if os.WriteFile(path, []byte(name), 0o644) != nil {
				t.Skip("no tree")
			}
			want[name] = name
		}
		o := []Options{{Size: mib}, {Size: 12 * mib, Bits: 16, SectorsPerCluster: 1}, {Size: 40 * mib, ESP: true, Label: "esp"}}[kind%3]
		m := &memory{}
		if err := Write(t.Context(), m, root, o); err != nil {
			if m.b != nil {
				t.Fatalf("written before %v", err)
			}
			return
		}
		v, err := openImage(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.files()
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, wanted(want)) {
			t.Fatalf("%q, want %q", got, wanted(want))
		}
	})
}

// FuzzParseOptions takes any words; what is accepted can be sized and written.
func FuzzParseOptions(f *testing.F) {
	f.Add("-F 32 -s 8 -n LABEL -i 1234-ABCD")
	f.Add("-aIv -S4096 -R 100 -f 1 -r 7 -M 0xF0 -h 99")
	f.Add("-F12 -s128 -R 32768")
	f.Fuzz(func(t *testing.T, line string) {
		var o Options
		if ParseOptions(strings.Fields(line), &o) != nil {
			return
		}
		size, err := Needs(Bound(mib, 10, 2), o)
		if err != nil {
			return
		}
		o.Size = size
		m := &memory{}
		if err := Write(t.Context(), m, "", o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		v, err := openImage(m)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got, err := v.files(); err != nil || len(got) != 0 {
			t.Fatalf("%q: %v, %v", line, got, err)
		}
	})
}
