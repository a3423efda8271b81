package oci

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/lithify/lithify/rootfs"
)

// host is a registry that counts, and refuses what a test wants refused.
type host struct {
	*httptest.Server
	mu     sync.Mutex
	begun  int // uploads of blobs
	done   int
	refuse func(w http.ResponseWriter, r *http.Request) bool
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		refuse := h.refuse
		if strings.Contains(r.URL.Path, "/blobs/uploads") {
			switch r.Method {
			case http.MethodPost:
				h.begun++
			case http.MethodPut:
				h.done++
			}
		}
		h.mu.Unlock()
		if refuse == nil || !refuse(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *host) target(repo string) string { return strings.TrimPrefix(h.URL, "http://") + "/" + repo }

func (h *host) allow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = nil
}

// uploads gives the uploads since the last call.
func (h *host) uploads() (begun, done int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	begun, done = h.begun, h.done
	h.begun, h.done = 0, 0
	return begun, done
}

// threePhases makes three sealed layers.
func threePhases(t testing.TB, s *Store) []rootfs.Layer {
	t.Helper()
	at, ends := base(t, s), []rootfs.Layer(nil)
	for _, n := range []string{"root", "install", "finalise"} {
		l, c := step(t, s, at, n, func(d string) {
			if n == "root" {
				odd(t)(d)
			}
			writer(t, n, strings.Repeat(n, 10_000))(d)
		})
		seal(t, c, l)
		at, ends = l, append(ends, l)
	}
	return ends
}

func phased(t testing.TB, s *Store, ends []rootfs.Layer) *Image {
	t.Helper()
	img, err := s.Image(t.Context(), ends[len(ends)-1], ImageConfig{Phases: phases(ends...)})
	must(t, err)
	return img
}

func packed(t testing.TB, img *Image) int {
	t.Helper()
	all, err := os.ReadDir(img.blobFolder())
	must(t, err)
	return len(all)
}

// What is in the registry is neither sent nor packed again, not in a later
// build either; a late change sends its own layer only.
func TestPushSendsOnlyWhatIsNew(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo")
	root, h := t.TempDir(), newHost(t)
	s := openStore(t, root)
	ends := threePhases(t, s)
	first, err := phased(t, s, ends).Push(t.Context(), h.target("a/web:1"), PushOptions{})
	must(t, err)
	if _, done := h.uploads(); done != 4 { // three layers and the configuration
		t.Errorf("the first push uploaded %d blobs, want 4", done)
	}
	must(t, s.Close())
	s = openStore(t, root)
	ends = threePhasesAgain(t, s)
	img := phased(t, s, ends)
	again, err := img.Push(t.Context(), h.target("a/web:1"), PushOptions{})
	must(t, err)
	if begun, done := h.uploads(); begun+done+packed(t, img) != 0 || again != first {
		t.Errorf("pushed again: %d uploads begun, %d done, %d blobs packed; digest %s, was %s", begun, done, packed(t, img), again, first)
	}
	late, _ := step(t, s, ends[1], "late", writer(t, "finalise", "other"))
	img = phased(t, s, []rootfs.Layer{ends[0], ends[1], late})
	_, err = img.Push(t.Context(), h.target("a/web:2"), PushOptions{})
	must(t, err)
	if _, done := h.uploads(); done != 2 || packed(t, img) != 1 {
		t.Errorf("a late change uploaded %d blobs, want 2, and packed %d, want 1", done, packed(t, img))
	}
	// Another registry lacks all: what is known by digest only is packed now.
	other := newHost(t)
	digest, err := phased(t, s, ends).Push(t.Context(), other.target("b/c"), PushOptions{})
	must(t, err)
	if digest != first {
		t.Errorf("digest %s, was %s", digest, first)
	}
	judge(t, other.target("b/c:latest"), digest, seen(t, s, ends[2]))
}

func threePhasesAgain(t testing.TB, s *Store) []rootfs.Layer {
	t.Helper()
	var ends []rootfs.Layer
	for _, n := range []string{"root", "install", "finalise"} {
		l, _, err := s.Find(t.Context(), key(n))
		must(t, err)
		ends = append(ends, l)
	}
	return ends
}

// judge lets others look at an image: crane's validation, skopeo, and
// containers/storage, whose tree has to be want.
func judge(t *testing.T, target, digest string, want map[string]string) {
	t.Helper()
	ref, err := name.ParseReference(target)
	must(t, err)
	img, err := remote.Image(ref)
	must(t, err)
	must(t, validate.Image(img))
	if got, err := img.Digest(); err != nil || got.String() != digest {
		t.Errorf("digest %v, %v, want %s", got, err, digest)
	}
	out := filepath.Join(t.TempDir(), "oci")
	run(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+target, "oci:"+out)
	run(t, "skopeo", "inspect", "oci:"+out)
	s := openStore(t, t.TempDir())
	got := unpacked(t, s, img)
	want, got = without(want, "dev/null", "."), without(got, ".")
	if d := diff(want, got); len(d) > 0 {
		t.Error(d)
	}
}

func without(tree map[string]string, names ...string) map[string]string {
	for _, n := range names {
		delete(tree, n)
	}
	return tree
}

// A record of another compressor's blob is noticed before anything has its name.
func TestPushMendsStaleRecords(t *testing.T) {
	needRoot(t)
	s, h := openStore(t, t.TempDir()), newHost(t)
	ends := threePhases(t, s)
	right := phased(t, s, ends).Digest()
	rec, ok := s.readBlob(ends[0], ends[1])
	if !ok {
		t.Fatal("no record")
	}
	rec.Digest = "sha256:" + strings.Repeat("0", 64)
	must(t, s.saveBlob(ends[0], ends[1], rec))
	got, err := phased(t, s, ends).Push(t.Context(), h.target("a/b:c"), PushOptions{})
	if err != nil || got != right {
		t.Errorf("Push = %s, %v, want %s", got, err, right)
	}
}

// A push that is refused, at whatever point, leaves no tag, and says so in a
// line.
func TestRefusedPushLeavesNoTag(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	ends := threePhases(t, s)
	for what, c := range map[string]struct {
		refuse func(w http.ResponseWriter, r *http.Request) bool
		want   string
	}{
		"the manifest": {func(w http.ResponseWriter, r *http.Request) bool {
			return refused(w, r, http.MethodPut, "/manifests/", http.StatusBadRequest)
		}, "push again"},
		"a layer at its end": {func(w http.ResponseWriter, r *http.Request) bool {
			return refused(w, r, http.MethodPut, "/blobs/", http.StatusRequestEntityTooLarge)
		}, "raise its limit"},
		"a layer midway": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			io.CopyN(io.Discard, r.Body, 64)
			panic(http.ErrAbortHandler)
		}, "/a/b"},
		"everybody": {func(w http.ResponseWriter, r *http.Request) bool {
			return refused(w, r, http.MethodPost, "/blobs/", http.StatusForbidden)
		}, "podman login"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // the library waits before it tries again
			h := newHost(t)
			h.Config.ErrorLog = log.New(io.Discard, "", 0)
			h.refuse = c.refuse
			_, err := phased(t, s, ends).Push(t.Context(), h.target("a/b:c"), PushOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1500 {
				t.Errorf("Push = %v", err)
			}
			h.allow()
			ref, err := name.ParseReference(h.target("a/b:c"))
			must(t, err)
			if _, err := remote.Head(ref); err == nil {
				t.Error("there is a tag")
			}
		})
	}
}

func refused(w http.ResponseWriter, r *http.Request, method, part string, status int) bool {
	if r.Method != method || !strings.Contains(r.URL.Path, part) {
		return false
	}
	w.WriteHeader(status)
	io.WriteString(w, strings.Repeat("<p>\nno\n", 500))
	return true
}

func TestPushStops(t *testing.T) {
	needRoot(t)
	s, h := openStore(t, t.TempDir()), newHost(t)
	img := phased(t, s, threePhases(t, s))
	ctx, cancel := context.WithCancel(t.Context())
	h.refuse = func(http.ResponseWriter, *http.Request) bool { cancel(); return false }
	if _, err := img.Push(ctx, h.target("a/b:c"), PushOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Push after ^C = %v", err)
	}
}

// A registry on this machine may speak plain HTTP, and may not send us on to
// another one that does: neither layers nor logins go there.
func TestPushRefusesPlainHTTP(t *testing.T) {
	needRoot(t)
	s, h := openStore(t, t.TempDir()), newHost(t)
	img := phased(t, s, threePhases(t, s))
	h.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://192.0.2.1"+r.URL.Path, http.StatusTemporaryRedirect) // a network for documentation
		return true
	}
	_, err := img.Push(t.Context(), h.target("a/b:c"), PushOptions{})
	if !errors.Is(err, errPlain) || !strings.Contains(err.Error(), `host "192.0.2.1"`) {
		t.Errorf("Push to another machine without encryption: %v", err)
	}
	if begun, _ := h.uploads(); begun > 0 {
		t.Errorf("%d uploads were begun", begun)
	}
}

// helperLogin is a docker credential helper.
const helperLogin = `#!/bin/sh
read host
echo '{"ServerURL":"'"$host"'","Username":"me","Secret":"geheim"}'
`

// Each place where docker and podman leave logins is read; a helper process
// does the pushing, as the environment decides.
func TestPushCredentials(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	h.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user == "me" && pass == "geheim" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	registry := strings.TrimPrefix(h.URL, "http://")
	auths := `{"auths":{"` + registry + `":{"auth":"bWU6Z2VoZWlt"}}}`
	part := `{"auths":{"` + registry + `/a":{"auth":"bWU6Z2VoZWlt"},"` + registry + `":{"auth":"bWU6ZmFsc2No"}}}`
	for what, c := range map[string]struct {
		file, text string
		env        []string
		refused    string
	}{
		"docker":             {file: "home/.docker/config.json", text: auths},
		"DOCKER_CONFIG":      {file: "dc/config.json", text: auths, env: []string{"DOCKER_CONFIG=dc"}},
		"podman":             {file: "run/containers/auth.json", text: auths, env: []string{"XDG_RUNTIME_DIR=run"}},
		"podman's part":      {file: "run/containers/auth.json", text: part, env: []string{"XDG_RUNTIME_DIR=run"}},
		"podman's home":      {file: "home/.config/containers/auth.json", text: auths},
		"REGISTRY_AUTH_FILE": {file: "some.json", text: auths, env: []string{"REGISTRY_AUTH_FILE=some.json"}},
		"credHelpers":        {file: "home/.docker/config.json", text: `{"credHelpers":{"` + registry + `":"test"}}`},
		"podman's helpers":   {file: "run/containers/auth.json", text: `{"credHelpers":{"` + registry + `":"test"}}`, env: []string{"XDG_RUNTIME_DIR=run"}},
		"credsStore":         {file: "home/.docker/config.json", text: `{"credsStore":"test"}`},
		"none":               {refused: "podman login"},
		"wrong":              {file: "home/.docker/config.json", text: strings.Replace(auths, "bWU6Z2VoZWlt", "bWU6ZmFsc2No", 1), refused: "podman login"},
		"helper missing":     {file: "home/.docker/config.json", text: `{"credHelpers":{"` + registry + `":"nowhere"}}`, refused: "docker-credential-nowhere"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(name, text string, mode os.FileMode) {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
			}
			put("bin/docker-credential-test", helperLogin, 0o755)
			put("home/x", "", 0o600)
			if c.file != "" {
				put(c.file, c.text, 0o600)
			}
			cmd := helper(t, "push", filepath.Join(dir, "store"))
			env := []string{"PATH=" + dir + "/bin:/usr/bin:/bin", "HOME=" + dir + "/home", "OCI_TEST_HELPER=push",
				"OCI_TEST_ROOT=" + dir + "/store", "OCI_TEST_TARGET=" + h.target("a/"+strings.ReplaceAll(filepath.Base(dir), "_", ""))}
			for _, e := range c.env {
				name, value, _ := strings.Cut(e, "=")
				env = append(env, name+"="+filepath.Join(dir, value))
			}
			checkPush(t, cmd, append(env, keptEnv()...), c.refused)
		})
	}
}

// keptEnv is what says who this process is.
func keptEnv() []string {
	var kept []string
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "_CONTAINERS_") || strings.HasPrefix(e, "OCI_TEST_NS=") || strings.HasPrefix(e, "CI=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func checkPush(t *testing.T, cmd *exec.Cmd, env []string, refused string) {
	t.Helper()
	cmd.Env, cmd.Stderr = env, nil
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "geheim") || strings.Contains(string(out), "falsch") {
		t.Errorf("a secret is told: %s", out)
	}
	switch {
	case refused == "" && err != nil:
		t.Errorf("%v: %s", err, out)
	case refused != "" && (err == nil || !strings.Contains(string(out), refused)):
		t.Errorf("%v: %s, want %q", err, out, refused)
	}
}

func helpPush(ctx context.Context, s *Store) error {
	b, err := s.Base(ctx)
	if err != nil {
		return err
	}
	img, err := s.Image(ctx, b, ImageConfig{})
	if err != nil {
		return err
	}
	_, err = img.Push(ctx, os.Getenv("OCI_TEST_TARGET"), PushOptions{AuthFile: os.Getenv("REGISTRY_AUTH_FILE")})
	return err
}
