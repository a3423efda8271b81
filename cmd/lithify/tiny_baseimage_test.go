package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	imagename "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// images is a registry that counts the layers fetched from it.
type images struct {
	t       testing.TB
	host    string
	blobs   atomic.Int64
	asked   atomic.Int64 // manifests, by name
	uploads atomic.Int64
	server  *httptest.Server
}

func newImages(t testing.TB) *images {
	t.Helper()
	r := &images{t: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/blobs/uploads/") {
			r.uploads.Add(1)
		}
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/manifests/") {
			r.asked.Add(1)
		}
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(r.server.Close)
	r.host = strings.TrimPrefix(r.server.URL, "http://")
	return r
}

// bases pushes two images made of the elements tiny and app, in several layers;
// they differ in a word, and the first is in out as base1.tar, too.
func (r *images) bases(w *tiny) {
	r.t.Helper()
	for tag, word := range map[string]string{"1": "one", "2": "two"} {
		w.with("DIB_TINY_WORD="+word).build("base"+tag, "tar,docker", "--docker-target", r.host+"/team/base:"+tag)
	}
}

// index pushes an index: the image of one tag for each architecture.
func (r *images) index(name string, tags map[string]string) {
	r.t.Helper()
	var index v1.ImageIndex = empty.Index
	for arch, tag := range tags {
		image, err := crane.Pull(r.host + "/team/base:" + tag)
		must(r.t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	ref, err := imagename.ParseReference(r.host + "/" + name)
	must(r.t, err)
	must(r.t, remote.WriteIndex(ref, index))
}

// boxed makes the element box, which is what an image of the registry is.
func (r *images) boxed(t testing.TB, as *user.User) *tiny {
	w := newTiny(t, as).with(epoch)
	w.write("box/element-provides", "operating-system\n")
	w.write("box/base-image", "# where the tests are\n"+r.host+"/team/${DIB_BOX_NAME}\n")
	w.write("box/environment.d/10-box.bash", "export DIB_BOX_NAME=${DIB_BOX_NAME:-base:1}\n")
	w.write("box/root.d/10-box", "#!/bin/sh\necho \"ran: $0\"\nexit 1\n")
	w.write("box/root.d/75-box", "#!/bin/sh\necho \"ran: $0\"\ntest -s $TARGET_ROOT/bin/busybox && touch -d @1700000000 $TARGET_ROOT\n")
	w.write("more/root.d/20-more", "#!/bin/sh\necho \"ran: $0\"\ntest -s $TARGET_ROOT/bin/busybox\n")
	w.write("late/install.d/50-late", "#!/bin/sh\necho \"ran: $0\"\nset -e\nrm -r /home/other /opt/many/20\necho late > /etc/late\n")
	w.names = []string{"box", "more"}
	return w
}

// TestTinyBaseImage: a tree from an image of several layers is the tree that the
// image was made of, and what follows is as with every other first tree.
func TestTinyBaseImage(t *testing.T) {
	t.Parallel()
	r := newImages(t)
	origin := newTiny(t, nil).with(epoch)
	r.bases(origin)
	for who, as := range tinyPeople(t) {
		t.Run(who, func(t *testing.T) {
			w := r.boxed(t, as)
			first := w.build("box", "tar")
			if want := []string{"root.d/20-more", "root.d/75-box"}; !slices.Equal(first.hooks, want) {
				t.Errorf("hooks %v, want %v", first.hooks, want)
			}
			sameTree(t, "tar:"+w.path("box.tar"), "tar:"+origin.path("base1.tar"), blockdevtest.CompareOptions{Seconds: true})
			r.remembered(t, w)
			r.layered(t, w)
			r.travelled(t, w)
			r.moved(t, w, origin)
			if _, err := exec.Command("grep", "-c", "team/base:1 sha256:", w.path("box.d/dib-manifests/dib-manifest-base-image-box")).Output(); err != nil {
				t.Error("the manifests do not name the base image")
			}
		})
	}
}

// remembered: an image that is there is asked for by name once, and not fetched;
// offline nobody is asked.
func (r *images) remembered(t *testing.T, w *tiny) {
	r.blobs.Store(0)
	r.asked.Store(0)
	if again := w.build("other", "tar"); again.ran != 0 {
		t.Error(again)
	}
	if blobs, asked := r.blobs.Load(), r.asked.Load(); blobs > 1 || asked != 1 { // the configuration
		t.Errorf("%d blobs and %d manifests were fetched of an image that is there, want one at most, and one", blobs, asked)
	}
	r.asked.Store(0)
	if off := w.build("off", "tar", "--offline"); off.ran != 0 || r.asked.Load() != 0 {
		t.Errorf("offline: %d manifests fetched: %v", r.asked.Load(), off)
	}
	never := w.with("DIB_BOX_NAME=base:2")
	never.fails(1, never.create("never", "tar", "--offline"), "base:2", "without --offline")
	plan := w.runCommand(w.command("lithify", append([]string{"plan", "-o", "box", "-t", "tar"}, append(slices.Clone(w.args), w.names...)...)...))
	if plan.code != 0 || !strings.Contains(plan.stdout, "reuse") || r.asked.Load() != 0 {
		t.Error(plan)
	}
}

// travelled: another machine takes the steps upon an image from a repository,
// and makes the same image of them.
func (r *images) travelled(t *testing.T, w *tiny) {
	upon := *w
	upon.names = append(slices.Clone(w.names), "late")
	steps, there := "="+r.host+"/team/steps-"+strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), r.host+"/team/travelled:"
	upon.otherStore("near").build("near", "tar,docker", "--cache-to"+steps, "--docker-target", there+"near")
	far := upon.otherStore("far").build("far", "tar,docker", "--cache-from"+steps, "--docker-target", there+"far")
	if far.ran != 0 || far.reused == 0 {
		t.Error(far)
	}
	sameBits(t, w.path("near.tar"), w.path("far.tar"))
	near, err := crane.Digest(there + "near")
	must(t, err)
	if got, err := crane.Digest(there + "far"); err != nil || got != near {
		t.Errorf("the image made of steps from elsewhere is %s (%v), want %s", got, err, near)
	}
}

// moved: a tag that is given to another image makes the tree anew; an index
// gives this platform's image, and the other one's is refused where there is
// none.
func (r *images) moved(t *testing.T, w, origin *tiny) {
	r.index("team/moving:1", map[string]string{"amd64": "1", "arm64": "2"})
	moving := w.with("DIB_BOX_NAME=moving:1")
	// The index stands for the very image that is there under another name.
	if same := moving.build("moving", "tar"); same.ran != 0 {
		t.Error(same)
	}
	sameBits(t, w.path("moving.tar"), w.path("box.tar"))
	r.index("team/moving:1", map[string]string{"amd64": "2"})
	if next := moving.build("moving", "tar"); len(next.hooks) == 0 {
		t.Error("another image, and nothing was built:", next)
	}
	sameTree(t, "tar:"+w.path("moving.tar"), "tar:"+origin.path("base2.tar"), blockdevtest.CompareOptions{Seconds: true})
	override := w.with("DIB_BASE_IMAGE=docker://" + r.host + "/team/moving:1")
	if over := override.build("over", "tar"); len(over.hooks) != 0 {
		t.Error("the same image by DIB_BASE_IMAGE is another tree:", over)
	}
}

// layered: an image upon a base begins with the base's layers, and says so; a
// registry that has them receives none of them, another one all. Somebody who
// starts from it has the same tree.
func (r *images) layered(t *testing.T, w *tiny) {
	upon := *w
	upon.names = append(slices.Clone(w.names), "late")
	other := newImages(t)
	for _, to := range []*images{r, other} {
		to.uploads.Store(0)
		upon.build("upon", "tar,docker", "--docker-target", to.host+"/team/upon:1")
		sent := int(to.uploads.Load())
		base, err := crane.Manifest(r.host + "/team/base:1")
		must(t, err)
		below, err := v1.ParseManifest(bytes.NewReader(base))
		must(t, err)
		image, err := crane.Pull(to.host + "/team/upon:1")
		must(t, err)
		must(t, validate.Image(image))
		above, err := image.Manifest()
		must(t, err)
		all := len(above.Layers) + 1 // and the configuration
		if ours := all - len(below.Layers); to == r && sent > ours || to == other && sent != all {
			t.Errorf("%d uploads; the image has %d blobs, %d of them not the base's; the registry has these: %v", sent, all, ours, to == r)
		}
		for n, l := range below.Layers {
			if n >= len(above.Layers) || above.Layers[n].Digest != l.Digest {
				t.Fatalf("layer %d of the base is not that of the image upon it: %v", n, above.Layers)
			}
		}
		if a := above.Annotations; a["org.opencontainers.image.base.name"] != r.host+"/team/base:1" || a["org.opencontainers.image.base.digest"] == "" {
			t.Errorf("annotations %v", a)
		}
	}
	from := w.with("DIB_BASE_IMAGE=" + other.host + "/team/upon:1")
	from.build("from", "tar")
	sameTree(t, "tar:"+w.path("from.tar"), "tar:"+w.path("upon.tar"), blockdevtest.CompareOptions{Seconds: true})
}
