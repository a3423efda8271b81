package oci

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// boxImage has one layer with one file, for one architecture.
func boxImage(t testing.TB, arch, word string) v1.Image {
	t.Helper()
	img, err := crane.Image(map[string][]byte{"etc/word": []byte(word)})
	must(t, err)
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", arch, []string{"WORD=" + word}
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

// boxes gives the host team/box:1 for amd64, team/arm:1 for arm64, and
// team/index:1 for both, in which amd64 is team/box:1.
func boxes(t testing.TB, h *host) {
	t.Helper()
	amd, arm := boxImage(t, "amd64", "box"), boxImage(t, "arm64", "arm")
	must(t, crane.Push(amd, h.target("team/box:1")))
	must(t, crane.Push(arm, h.target("team/arm:1")))
	var index v1.ImageIndex = empty.Index
	for arch, img := range map[string]v1.Image{"amd64": amd, "arm64": arm} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(h.target("team/index:1"))
	must(t, err)
	must(t, remote.WriteIndex(ref, index))
}

// pulled gives the word in an image.
func pulled(t testing.TB, s *Store, ref string, o PullOptions) (*BaseImage, string, error) {
	t.Helper()
	b, err := s.FindBaseImage(t.Context(), ref, o)
	if err != nil {
		return nil, "", err
	}
	l, err := b.Layer(t.Context())
	if err != nil {
		return nil, "", err
	}
	c, err := s.Scratch(t.Context(), l)
	must(t, err)
	word, err := os.ReadFile(filepath.Join(c.Dir(), "etc/word"))
	must(t, err)
	must(t, c.Close())
	return b, string(word), nil
}

// userSettings are the options of a user who has these settings.
func userSettings(t *testing.T, policy, registries string) PullOptions {
	t.Helper()
	dir := t.TempDir()
	o := PullOptions{Architecture: "amd64", Policy: filepath.Join(dir, "policy.json"), Registries: filepath.Join(dir, "registries.conf")}
	if policy == "" {
		policy = `{"default":[{"type":"insecureAcceptAnything"}]}`
	}
	must(t, os.WriteFile(o.Policy, []byte(policy), 0o644))
	must(t, os.WriteFile(o.Registries, []byte(registries), 0o644))
	return o
}

// An index gives the platform's image, which is the one that its own name gives;
// what is there is not fetched again, in a later build either; pruning forgets
// it like every step, and it comes back.
func TestBaseImage(t *testing.T) {
	needRoot(t)
	h, root := newHost(t), t.TempDir()
	boxes(t, h)
	s := openStore(t, root)
	direct, word, err := pulled(t, s, h.target("team/box:1"), PullOptions{Architecture: "amd64"})
	must(t, err)
	byIndex, other, err := pulled(t, s, "docker://"+h.target("team/index:1"), PullOptions{Architecture: "amd64"})
	must(t, err)
	arm, armWord, err := pulled(t, s, h.target("team/index:1"), PullOptions{Architecture: "arm64"})
	must(t, err)
	if word != "box" || other != "box" || armWord != "arm" || direct.Digest != byIndex.Digest || arm.Digest == direct.Digest {
		t.Errorf("%q %q %q: %s, %s, %s", word, other, armWord, direct.Digest, byIndex.Digest, arm.Digest)
	}
	if len(direct.Config.Env) != 1 || direct.Config.Env[0] != "WORD=box" {
		t.Errorf("configuration %+v", direct.Config)
	}
	if images, err := s.st.Images(); err != nil || len(images) > 0 {
		t.Errorf("%d images are left in the store (%v): their layers would never go", len(images), err)
	}
	must(t, s.Close())
	s = openStore(t, root)
	h.Close()
	if _, word, err = pulled(t, s, h.target("team/box:1"), PullOptions{Architecture: "amd64", Offline: true}); err != nil || word != "box" {
		t.Errorf("offline: %q, %v", word, err)
	}
	must(t, s.Close())
	s = openStore(t, root)
	report, err := s.Prune(t.Context(), PruneOptions{All: true})
	must(t, err)
	if report.Layers < 2 {
		t.Errorf("pruning all: %+v", report)
	}
	if _, _, err = pulled(t, s, h.target("team/box:1"), PullOptions{Architecture: "amd64", Offline: true}); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("pruned and offline: %v", err)
	}
}

// Archives and folders are read, too, with the same digest.
func TestBaseImageFiles(t *testing.T) {
	needRoot(t)
	dir, s := t.TempDir(), openStore(t, t.TempDir())
	img := boxImage(t, "amd64", "box")
	must(t, crane.SaveOCI(img, dir+"/layout"))
	must(t, crane.Save(img, "box:1", dir+"/box.tar"))
	for _, ref := range []string{"oci:" + dir + "/layout", "docker-archive:" + dir + "/box.tar"} {
		_, word, err := pulled(t, s, ref, PullOptions{Architecture: "amd64"})
		if err != nil || word != "box" {
			t.Errorf("%s: %q, %v", ref, word, err)
		}
	}
}

const strict = "[[registry]]\nlocation = \"%s\"\ninsecure = false\n"

// What may be wrong is one line that says what to do, and the store goes on.
func TestBaseImageRefused(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	boxes(t, h)
	secure := httptest.NewTLSServer(h.Config.Handler)
	t.Cleanup(secure.Close)
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	status := func(code int, header string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			if header != "" {
				w.Header().Set("WWW-Authenticate", header)
			}
			w.WriteHeader(code)
			return true
		}
	}
	for what, c := range map[string]struct {
		ref, policy, registries string
		refuse                  func(http.ResponseWriter, *http.Request) bool
		says                    string
	}{
		"unknown tag":        {ref: h.target("team/box:9"), says: "is the name right"},
		"unknown repository": {ref: h.target("team/none:1"), says: "is the name right"},
		"other architecture": {ref: h.target("team/arm:1"), says: "no image for linux/amd64: it is there for linux/arm64 only"},
		"no credentials":     {ref: h.target("team/box:1"), refuse: status(401, `Basic realm="x"`), says: "podman login"},
		"forbidden":          {ref: h.target("team/box:1"), refuse: status(403, ""), says: "podman login"},
		"certificate":        {ref: secureHost + "/team/box:1", registries: fmt.Sprintf(strict, secureHost), says: "certs.d"},
		"no encryption":      {ref: h.target("team/box:1"), registries: fmt.Sprintf(strict, h.target("")[:len(h.target(""))-1]), says: "insecure = true"},
		"policy":             {ref: h.target("team/box:1"), policy: `{"default":[{"type":"reject"}]}`, says: "policy.json forbids it"},
		"torn policy":        {ref: h.target("team/box:1"), policy: `{`, says: "policy.json"},
		"wrong blob":         {ref: h.target("team/box:1"), refuse: lies, says: "digest"},
		"drops all":          {ref: h.target("team/box:1"), refuse: drop, says: "tried four times"},
		"no reference":       {ref: "", says: "empty"},
		"bad reference":      {ref: "UPPER/case:1", says: "HOST/REPOSITORY:TAG"},
		"no file":            {ref: "oci-archive:/nowhere/box.tar", says: "no such file"},
		"no path":            {ref: "oci:", says: "no file is named"},
	} {
		t.Run(what, func(t *testing.T) {
			bad, good := userSettings(t, c.policy, c.registries), userSettings(t, "", "")
			s := openStore(t, t.TempDir())
			h.mu.Lock()
			h.refuse = c.refuse
			h.mu.Unlock()
			_, _, err := pulled(t, s, c.ref, bad)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("want one line that says %q, got: %v", c.says, err)
			}
			h.allow()
			if _, word, err := pulled(t, s, h.target("team/box:1"), good); err != nil || word != "box" {
				t.Errorf("afterwards: %q, %v", word, err)
			}
		})
	}
}

// lies gives other bytes than were asked for.
func lies(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		return false
	}
	_, _ = w.Write([]byte(`{"architecture":"amd64","os":"linux"}`))
	return true
}

func drop(w http.ResponseWriter, _ *http.Request) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
	return true
}

// A connection that breaks now and then costs time only.
func TestBaseImageRetries(t *testing.T) {
	needRoot(t)
	h, s := newHost(t), openStore(t, t.TempDir())
	boxes(t, h)
	var asked atomic.Int64
	h.mu.Lock()
	h.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		return asked.Add(1)%4 == 3 && drop(w, r)
	}
	h.mu.Unlock()
	if _, word, err := pulled(t, s, h.target("team/box:1"), PullOptions{Architecture: "amd64"}); err != nil || word != "box" {
		t.Errorf("%q, %v", word, err)
	}
	if asked.Load() < 4 {
		t.Errorf("%d requests: none was dropped", asked.Load())
	}
}
