package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const tinyImages = `
- imagename: web
  types: [tar]
  skip-base: true
  elements: [tiny, app]
- imagename: data
  types: [tar]
  skip-base: true
  elements: [tiny, app]
- imagename: mail
  types: [tar]
  skip-base: true
  elements: [tiny, app]
  packages: []
`

// TestTinyImages: the images of a list share their steps, and come out the same
// whether they are built one after the other or at once.
func TestTinyImages(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var worlds []*tiny
			for _, jobs := range []string{"1", "2"} {
				w := newTiny(t, as).with(epoch)
				worlds = append(worlds, w)
				must(t, os.WriteFile(filepath.Join(w.out, "images.yaml"), []byte(tinyImages), 0o644))
				r := w.runCommand(w.command("lithify", "diskimage-builder", "--jobs", jobs, "images.yaml"))
				want := slices.Sorted(slices.Values(allHooks))
				if slices.Sort(r.hooks); r.code != 0 || !slices.Equal(r.hooks, want) {
					t.Fatalf("--jobs %s: hooks %q, want each once: %q\n%v", jobs, r.hooks, want, r)
				}
				w.nothingLeft()
			}
			for _, image := range []string{"web.tar", "data.tar", "mail.tar"} {
				sameBits(t, worlds[0].path(image), worlds[1].path(image))
			}
			sameBits(t, worlds[0].path("web.tar"), worlds[0].path("data.tar"))
		})
	}
}
