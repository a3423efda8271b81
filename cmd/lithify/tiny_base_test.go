package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// baseImages: web and shop start from golden, kiosk from web. collector deals
// with the static files of others; mid changes its own afterwards.
const baseImages = `
- imagename: kiosk
  base: web
  elements: [kiosk]
  types: [tar]
- imagename: golden
  types: [tar]
  skip-base: true
  elements: [tiny, collector, mid]
  environment: {DIB_TINY_WORD: golden}
- imagename: web
  base: golden
  types: [raw, tar]
  image-size: 1
  mkfs-journal-size: 4
  elements: [app, shop]
  environment: {DIB_TINY_WORD: "the web's"}
- imagename: again
  base: golden
  types: [tar]
`

func baseWorld(t *testing.T) *tiny {
	t.Helper()
	w := newTiny(t, nil).with(epoch)
	const says = "#!/bin/sh\necho \"ran: $0\"\nset -eu\n"
	for path, text := range map[string]string{
		"collector/install.d/60-collector":    says + `[ ! -e "$(dirname "$0")/../static" ] || cp -a "$(dirname "$0")/../static/." /`,
		"collector/serves-elements":           "",
		"collector/post-install.d/61-seen":    says + `for f in /etc/mid /etc/shop /etc/kiosk; do [ ! -e $f ] || echo "$f" >> /etc/seen; done`,
		"mid/static/etc/mid":                  "as it came\n",
		"mid/environment.d/20-mid":            "export DIB_MID=middle",
		"mid/extra-data.d/20-mid":             says + `echo mid > "$TMP_MOUNT_PATH/etc/extra"`,
		"mid/pre-install.d/20-mid":            says + `echo "$DIB_TINY_WORD" > /etc/mids-word`,
		"mid/post-install.d/20-mid":           says + `echo changed > /etc/mid`,
		"mid/finalise.d/20-mid":               says + `echo "$IMAGE_NAME $DIB_TINY_WORD" > /etc/mids-end`,
		"mid/cleanup.d/20-mid":                says + `rm -f "$TMP_MOUNT_PATH/etc/extra"`,
		"shop/static/etc/shop":                "a shop\n",
		"shop/post-install.d/90-shop":         says + `echo "$DIB_MID $DIB_TINY_WORD" > /etc/shops-word`,
		"kiosk/static/etc/kiosk":              "a kiosk\n",
		"kiosk/install.d/90-kiosk":            says + `[ -e /etc/shops-word ]`,
		"collector/cache-key.d/10-collector":  "#!/bin/sh\necho fixed",
		"mid/cache-key.d/extra-data.d/20-mid": "#!/bin/sh\necho fixed",
	} {
		w.write(path, text)
	}
	must(t, os.WriteFile(filepath.Join(w.out, "images.yaml"), []byte(baseImages), 0o644))
	return w
}

// TestTinyBase: an image starts from what another has installed; hooks that have
// run there run no more, whatever the order in the list and however many at once.
func TestTinyBase(t *testing.T) {
	t.Parallel()
	for _, jobs := range []string{"1", "3"} {
		w := baseWorld(t)
		r := w.runCommand(w.command("lithify", "diskimage-builder", "--jobs", jobs, "images.yaml"))
		if r.code != 0 {
			t.Fatal(r)
		}
		w.nothingLeft()
		for hook, want := range map[string]int{
			"root.d/10-tiny": 1, "extra-data.d/20-mid": 1, "pre-install.d/20-mid": 1, "post-install.d/20-mid": 1,
			"install.d/60-collector": 3, "post-install.d/61-seen": 3, // golden, web, kiosk; again has nothing new
			"install.d/10-app": 1, "post-install.d/90-shop": 1, "install.d/90-kiosk": 1,
			"finalise.d/20-mid": 4, "cleanup.d/20-mid": 4, "finalise.d/50-app": 2,
		} {
			if got := len(slices.DeleteFunc(slices.Clone(r.hooks), func(h string) bool { return h != hook })); got != want {
				t.Errorf("--jobs %s: %s ran %d times, want %d", jobs, hook, got, want)
			}
		}
		for file, want := range map[string]string{
			"golden/etc/mid": "changed\n", "web/etc/mid": "changed\n", "web/etc/shop": "a shop\n", "kiosk/etc/kiosk": "a kiosk\n",
			"golden/etc/mids-word": "golden\n", "web/etc/mids-word": "golden\n", "web/etc/word": "the web's dark\n",
			"web/etc/shops-word": "middle the web's\n", "web/etc/mids-end": "web the web's\n", "golden/etc/mids-end": "golden golden\n",
			"kiosk/etc/mids-end": "kiosk the web's\n", "again/etc/mids-end": "again golden\n", "kiosk/etc/seen": "/etc/mid\n/etc/mid\n/etc/shop\n/etc/mid\n/etc/shop\n/etc/kiosk\n",
		} {
			image, name, _ := strings.Cut(file, "/")
			tar := image + ".tar"
			if got := foreign(t, w.out, "tar", "-xOf", tar, tarName(t, w.path(tar), name)); got != want {
				t.Errorf("--jobs %s: %s has %q, want %q", jobs, file, got, want)
			}
		}
		sameTree(t, "raw:"+w.path("web.raw"), "tar:"+w.path("web.tar"), ofDisk)
		w.plansBased(t)
		again := w.runCommand(w.command("lithify", "diskimage-builder", "images.yaml"))
		if again.code != 0 || len(again.hooks) > 0 {
			t.Errorf("made again: %v", again)
		}
	}
}

// plansBased: lithify plan knows the steps of the base, too.
func (w *tiny) plansBased(t *testing.T) {
	t.Helper()
	web := w.with("DIB_TINY_WORD=the web's", `LITHIFY_BASE={"arguments":["-o","golden","-n","tiny","collector","mid"],"set":{"DIB_TINY_WORD":"golden"}}`)
	plan := func(elements ...string) string {
		r := w.runCommand(web.command("lithify", append([]string{"plan", "-o", "web", "-t", "tar", "--mkfs-journal-size", "4"}, elements...)...))
		if r.code != 0 {
			t.Fatal(r)
		}
		return " " + strings.Join(strings.Fields(r.stdout), " ")
	}
	if text := plan("app", "shop"); !strings.Contains(text, " reuse pre-install/20-mid (mid)") || strings.Contains(text, " run ") {
		t.Errorf("not all is there:\n%s", text)
	}
	if text := plan("app"); !strings.Contains(text, " reuse install/60-collector") || !strings.Contains(text, " run install/60-collector") {
		t.Errorf("the base is not there, or its service need not run:\n%s", text)
	}
}

// TestTinyBaseEqualsOne: an image made in two is the image made in one go.
func TestTinyBaseEqualsOne(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(epoch)
	list := "- {imagename: floor, types: [tar], skip-base: true, elements: [tiny]}\n- {imagename: web, base: floor, types: [tar], elements: [app]}\n"
	must(t, os.WriteFile(filepath.Join(w.out, "list"), []byte(list), 0o644))
	if r := w.runCommand(w.command("lithify", "diskimage-builder", "list")); r.code != 0 {
		t.Fatal(r)
	}
	w.build("one", "tar")
	sameBits(t, w.path("web.tar"), w.path("one.tar"))
}

// TestTinyBaseFails: what starts from an image that failed is not begun, and
// named.
func TestTinyBaseFails(t *testing.T) {
	t.Parallel()
	w := baseWorld(t)
	w.edit("mid/post-install.d/20-mid", "\nexit 3\n")
	r := w.runCommand(w.command("lithify", "diskimage-builder", "--jobs", "2", "images.yaml"))
	const want = "1 of 4 images failed (golden), 3 not begun (kiosk for want of web, web for want of golden, again for want of golden)"
	if r.code != 1 || !strings.Contains(r.stderr, want) {
		t.Errorf("want %q: %v", want, r)
	}
	w.nothingLeft()
}
