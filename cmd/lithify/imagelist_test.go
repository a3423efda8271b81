package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev"
)

// commands is what a list becomes, one command a line.
func commands(t *testing.T, files ...string) (string, error) {
	t.Helper()
	var texts []imageText
	for i, f := range files {
		texts = append(texts, imageText{string(rune('a'+i)) + ".yaml", []byte(f)})
	}
	images, err := parseImages(texts)
	var lines []string
	for _, image := range images {
		lines = append(lines, image.shellText(nil, false))
	}
	return strings.Join(lines, "\n"), err
}

const everyKey = `
- elements: [vm, debian]
  skip-base: true
  packages: [a, b]
  docker-target: r:t
  install-type: package
  ramdisk-element: re
  root-label: rl
  qemu-img-options: {cluster_size: 2M, b: "1"}
  offline: yes
  no-tmpfs: True
  mkfs-options: -O ^x
  mkfs-journal-size: 9
  min-tmpfs: 8
  max-online-resize: 7
  image-cache: /c
  image-extra-size: 6
  image-size: 5
  checksum: on
  logfile: l
  clear: true
  uncompressed: true
  debug-trace: 2
  ramdisk: true
  environment: {A: "1 2", B: 3, C: yes, D: ''}
  types: [qcow2, raw]
  arch: arm64
  imagename: n
`

func TestImageCommands(t *testing.T) {
	for _, c := range []struct {
		what  string
		files []string
		want  string
	}{
		{"every key, in the order of arguments", []string{everyKey},
			`A='1 2' B=3 C=yes D='' ramdisk-image-create -o n -a arm64 -t qcow2,raw -x -x -u -c --logfile l --checksum --image-size 5 --image-extra-size 6 ` +
				`--image-cache /c --max-online-resize 7 --min-tmpfs 8 --mkfs-journal-size 9 --mkfs-options '-O ^x' --no-tmpfs --offline ` +
				`--qemu-img-options cluster_size=2M,b=1 --root-label rl --ramdisk-element re --install-type package --docker-target r:t -p a,b -n vm debian`},
		{"what is false or empty adds nothing", []string{"- imagename: x\n  types: []\n  packages: []\n  offline: false\n  checksum: no\n  logfile: ''\n  debug-trace: 0\n  environment: {}\n  ramdisk: false\n  qemu-img-options: {}\n"},
			"disk-image-create -o x"},
		{"the first without a name is image", []string{"- elements: [a]\n"}, "disk-image-create -o image a"},
		{"without a name: that of the one before", []string{"- imagename: x\n  elements: [a]\n- elements: [b]\n- imagename: y\n- elements: [c]\n"},
			"disk-image-create -o x a b\ndisk-image-create -o y c"},
		{"also over files", []string{"- imagename: x\n", "- elements: [b]\n"}, "disk-image-create -o x b"},
		{"lists grow, maps are updated, others replaced", []string{
			"- imagename: x\n  types: [raw]\n  elements: [a]\n  image-size: 1\n  offline: true\n  environment: {A: a, B: b}\n  packages: [p]\n- imagename: y\n",
			"- imagename: x\n  types: [qcow2]\n  elements: [b, a]\n  image-size: 2\n  offline: false\n  environment: {C: c, A: new}\n  packages: [q]\n",
			"- imagename: x\n  arch: amd64\n"},
			"A=new B=b C=c disk-image-create -o x -a amd64 -t raw,qcow2 --image-size 2 -p p,q a b a\ndisk-image-create -o y"},
		{"JSON", []string{`[{"imagename": "x", "image-size": 3, "offline": true, "elements": ["a"]}]`}, "disk-image-create -o x --image-size 3 --offline a"},
		{"anchors and merge keys", []string{"- &base\n  imagename: x\n  types: [raw]\n- <<: *base\n  imagename: y\n  arch: amd64\n"},
			"disk-image-create -o x -t raw\ndisk-image-create -o y -a amd64 -t raw"},
		{"an empty list", []string{"[]"}, ""},
	} {
		got, err := commands(t, c.files...)
		if err != nil || got != c.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", c.what, got, err, c.want)
		}
	}
}

func TestImageMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "a.yaml: line 1: found nothing, want a list of images"},
		{"# only\n", "a.yaml: line 1: found nothing, want a list of images"},
		{"imagename: x\n", "a.yaml: line 1: found a map, want a list of images"},
		{"text", `a.yaml: line 1: found "text", want a list of images`},
		{"- x\n- imagename: y\n", `a.yaml: line 1: image 1: found "x", want a map of keys`},
		{"- imagename: x\n- [a]\n", "a.yaml: line 2: image 2: found a list, want a map of keys"},
		{"- imagename: [\n", "a.yaml: line 1: not YAML: "},
		{"- imagename: x\n  imagename: y\n", `a.yaml: line 2: `},
		{"- imagename: x\n---\n- imagename: y\n", "a.yaml: line 3: a second document begins"},
		{"- *no\n", "a.yaml: line 1: *no is not defined above"},
		{strings.Repeat("[", 1000), "a.yaml: line 1: nested too deeply"},
		{"- imagename: x\n  tpyes: [raw]\n", `a.yaml: line 2: unknown key "tpyes" (did you mean types?); allowed: imagename, arch, `},
		{"- imagename: 5\n  arch: amd65\n", `a.yaml: line 2: arch: found "amd65"; allowed: aarch64, amd64, arm64, armhf, powerpc, ppc64, ppc64el, ppc64le, s390x, x86_64 (did you mean amd64?)`},
		{"- imagename: [x]\n", "a.yaml: line 1: imagename: found a list, want a text"},
		{"- types: raw\n", `a.yaml: line 1: types: found "raw", want a list of texts`},
		{"- types: [raw, rwa]\n", `a.yaml: line 1: types: item 2: found "rwa"; allowed: qcow2, tar, tgz, squashfs, vhd, docker, aci, raw`},
		{"- elements: [a, [b]]\n", "a.yaml: line 1: elements: item 2: found a list, want a text"},
		{"- environment: [A]\n", "a.yaml: line 1: environment: found a list, want a map of texts"},
		{"- environment:\n    A: [b]\n", "a.yaml: line 1: environment: A: found a list, want a text; quotes make one of anything"},
		{"- environment:\n    A:\n", "a.yaml: line 1: environment: A: found nothing, want a text"},
		{"- packages: [a, \"b\\0c\"]\n", `a.yaml: line 1: packages: found "b\x00c": no program can be given a zero byte`},
		{"- environment:\n    A: \"\\0\"\n", `a.yaml: line 1: environment: found "\x00": no program can be given a zero byte`},
		{"- environment: {A=B: c}\n", `a.yaml: line 1: environment: "A=B": no name for a value`},
		{"- ramdisk: maybe\n", `a.yaml: line 1: ramdisk: found "maybe", want true or false`},
		{"- ramdisk: 'true'\n", `a.yaml: line 1: ramdisk: found "true", want true or false`},
		{"- ramdisk: 1\n", `a.yaml: line 1: ramdisk: found "1", want true or false`},
		{"- debug-trace: 3\n", `a.yaml: line 1: debug-trace: found "3", want a whole number from 0 to 2`},
		{"- image-size: 0\n", `a.yaml: line 1: image-size: found "0", want a whole number of at least 1`},
		{"- image-size: -1\n", `a.yaml: line 1: image-size: found "-1", want a whole number of at least 1`},
		{"- image-size: 1.5\n", `a.yaml: line 1: image-size: found "1.5", want a whole number`},
		{"- image-size: '5'\n", `a.yaml: line 1: image-size: found "5", want a whole number`},
		{"- image-extra-size: -1\n", `a.yaml: line 1: image-extra-size: found "-1"`},
		{"- max-online-resize: -1\n", `a.yaml: line 1: max-online-resize: found "-1"`},
		{"- min-tmpfs: -1\n", `a.yaml: line 1: min-tmpfs: found "-1"`},
		{"- mkfs-journal-size: -1\n", `a.yaml: line 1: mkfs-journal-size: found "-1"`},
		{"- install-type: sources\n", `a.yaml: line 1: install-type: found "sources"; allowed: source, package (did you mean source?)`},
		{"- base: other\n", `a.yaml: line 1: base: found "other"; allowed are the other images: there is none`},
		{"- imagename: web\n- imagename: x\n  base: wbe\n", `a.yaml: line 3: base: found "wbe"; allowed are the other images: web (did you mean web?)`},
		{"- imagename: x\n  base: x\n", "a.yaml: line 2: base: x → x: an image cannot start from itself"},
		{"- imagename: x\n  base: y\n- imagename: y\n  base: z\n- imagename: z\n  base: y\n", "a.yaml: line 4: base: y → z → y: an image cannot start from itself"},
		{"- imagename: x\n  arch: amd64\n- imagename: y\n  base: x\n  arch: arm64\n", `a.yaml: line 4: base: "x" is for amd64, this image for arm64`},
		{"- imagename: x\n  ramdisk: true\n- imagename: y\n  base: x\n", "a.yaml: line 4: base: not supported yet: y → x: ramdisks"},
		{"- imagename: x\n  base: [y]\n", "a.yaml: line 2: base: found a list, want a text"},
		{"- a: 1\n\n- b: 2\n", "a.yaml: line 3: unknown key \"b\""}, // every mistake is told
	} {
		got, err := commands(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
			t.Errorf("%.100q: got %s, %v\nwant %s", c.text, got, err, c.want)
		}
	}
	if _, err := commands(t, "- imagename: x\n", "- bad: 1\n"); err == nil || !strings.HasPrefix(err.Error(), "b.yaml: line 1:") {
		t.Errorf("the second file: %v", err)
	}
}

// FuzzImageList: a mistake names file and line; what is accepted is one command
// for each name, which a shell and the program's own parser take apart again.
func FuzzImageList(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte("- &a {imagename: x, <<: *a}\n- <<: [1]\n- ? [a]\n  : b\n"))
	f.Add([]byte("%YAML 1.1\n---\n- !!str environment: {? : '\\0'}"))
	f.Add([]byte("- {imagename: \"a'b \\t\", root-label: \"\\\\\", elements: [-x, --, '', \"x y\"], packages: [\"\\0\"]}\n- imagename: [\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := parseImages([]imageText{{"f", data}})
		if err != nil {
			checkImageError(t, data, err)
		}
		seen := map[string]bool{}
		for _, image := range images {
			if seen[image.name] || image.name == "" || err != nil {
				t.Fatalf("images %v, error %v", images, err)
			}
			seen[image.name] = true
			var words []string
			for _, name := range image.assigned() {
				words = append(words, name+"="+image.environ(nil)[name])
			}
			words = append(append(words, image.program()), image.arguments()...)
			text := image.shellText(nil, false)
			if got, err := blockdev.SplitWords(text); err != nil || !slices.Equal(got, words) {
				t.Errorf("%q is %q, %v; want %q", text, got, err, words)
			}
			for _, word := range words {
				if strings.Contains(word, "\x00") { // no program can be given that
					t.Errorf("%q: word %q", data, word)
				}
			}
		}
	})
}

// checkImageError: the first mistake names its line, which the file has.
func checkImageError(t *testing.T, data []byte, err error) {
	t.Helper()
	var line int
	if _, scan := fmt.Sscanf(err.Error(), "f: line %d:", &line); scan != nil {
		t.Errorf("%q: no line in %v", data, err)
	}
	if breaks := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")); line < 1 || line > breaks+1 {
		t.Errorf("%q: %d line breaks, and the error is %v", data, breaks, err)
	}
}
