package main

import (
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// liar is a registry that counts what is asked of it, and that answers as lie
// wants where that is true.
type liar struct {
	*httptest.Server
	inner http.Handler
	mu    sync.Mutex
	count map[string]int // by method and kind
	lie   func(w http.ResponseWriter, r *http.Request) bool
}

func newLiar(t testing.TB) *liar {
	t.Helper()
	l := &liar{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0))), count: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		for _, kind := range []string{"blobs/uploads", "blobs", "manifests", "tags"} {
			if strings.Contains(r.URL.Path, "/"+kind+"/") {
				l.count[r.Method+" "+kind]++
				break
			}
		}
		lie := l.lie
		l.mu.Unlock()
		if lie == nil || !lie(w, r) {
			l.inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *liar) repo() string { return strings.TrimPrefix(l.URL, "http://") + "/team/cache" }

// counts gives the requests since the last call.
func (l *liar) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	l.count = map[string]int{}
	return c
}

func (l *liar) lies(lie func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = lie
}

// travellers are worlds with one library and stores of their own.
func (w *tiny) otherStore(name string) *tiny {
	w.t.Helper()
	c := *w
	c.store = filepath.Join(w.dir, name)
	must(w.t, os.MkdirAll(c.store, 0o755))
	give(w.t, w.as, c.store)
	return &c
}

// TestTinyTravel: a second machine runs no hook and gives equal bytes; what its
// store has is not asked for; after a change of a late hook its phase and the
// rest run; what is unchanged is not sent. Root and an ordinary user share.
func TestTinyTravel(t *testing.T) {
	t.Parallel()
	host := newLiar(t)
	to, from := "--cache-to="+host.repo(), "--cache-from="+host.repo()
	first := newTiny(t, nil).with(epoch)
	first.build("web", "raw,tar", to, "--backend=file").wantHooks(t, tinySteps, allHooks...)
	if c := host.counts(); c["PUT manifests"] < 5 || c["GET manifests"] > 0 {
		t.Errorf("the first build asked %v", c)
	}
	second := first.otherStore("second")
	second.build("two", "raw,tar", from, to, "--backend=file").wantHooks(t, 0)
	c := host.counts()
	if c["PUT manifests"]+c["POST blobs/uploads"] > 0 || c["GET blobs"] == 0 || c["GET tags"] != 1 {
		t.Errorf("the second build asked %v", c)
	}
	for _, kind := range []string{"raw", "tar"} {
		sameBits(t, first.path("web."+kind), first.path("two."+kind))
	}
	second.build("three", "tar", from).wantHooks(t, 0)
	if c := host.counts(); len(c) > 0 {
		t.Errorf("with everything in the store it asked %v", c)
	}
	user := newTiny(t, ordinaryUser(t)).with(epoch)
	user.build("web", "raw,tar", from, "--backend=file").wantHooks(t, 0)
	sameBits(t, first.path("web.tar"), user.path("web.tar"))
	sameBits(t, first.path("web.raw"), user.path("web.raw"))
	user.write("app/finalise.d/90-last", "#!/bin/sh\necho ran: $0\necho other > /other\n")
	host.counts()
	user.otherStore("late").build("late", "tar", from, to).wantHooks(t, 4, "finalise.d/50-app", "finalise.d/90-last")
	if c := host.counts(); c["POST blobs/uploads"] == 0 {
		t.Errorf("the late change asked %v", c)
	}
	must(t, os.WriteFile(filepath.Join(first.lib, "app/finalise.d/90-last"), []byte("#!/bin/sh\necho ran: $0\necho other > /other\n"), 0o755))
	first.otherStore("third").build("late", "tar", from).wantHooks(t, 0) // root takes the user's
	sameBits(t, first.path("late.tar"), user.path("late.tar"))
}

// TestTinyTravelLies: a registry that errs, cuts off, flips bits, and gives
// another entry than the one asked for costs a rebuild and never a wrong image.
// LITHIFY_TEST_CACHE=all makes a hundred builds.
func TestTinyTravelLies(t *testing.T) {
	t.Parallel()
	const seed = 20261124
	t.Logf("seed %d", seed)
	builds := 10
	if os.Getenv("LITHIFY_TEST_CACHE") == "all" {
		builds = 100
	}
	host := newLiar(t)
	w := newTiny(t, nil).with(epoch)
	w.build("right", "tar", "--cache-to="+host.repo())
	l := &lies{r: rand.New(rand.NewPCG(seed, 1)), host: host}
	host.lies(l.lie)
	reused, warned := 0, 0
	for i := range builds {
		l.again(i)
		other := w.otherStore("store")
		r := other.build("it", "tar", "--cache-from="+host.repo())
		if r.ran+r.reused != tinySteps {
			t.Errorf("build %d: %v", i, r)
		}
		sameBits(t, w.path("right.tar"), w.path("it.tar"))
		if r.reused > 0 {
			reused++
		}
		if strings.Contains(r.stderr, "warning: ") { // a list that leaves entries out is no error
			warned++
		}
		must(t, os.RemoveAll(other.store))
		must(t, os.Remove(w.path("it.tar")))
	}
	t.Logf("%d builds: %d reused something, %d warned", builds, reused, warned)
	if reused == 0 || warned == 0 {
		t.Error("the lies were too many, or too few, to show anything")
	}
}

// lies spoils answers at random.
type lies struct {
	host *liar
	mu   sync.Mutex
	r    *rand.Rand
	odds float64
	seen []string // paths of manifests
}

// again begins a build, of which every second one has few lies.
func (l *lies) again(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.odds = []float64{0.1, 0.4}[i%2]
}

func (l *lies) lie(w http.ResponseWriter, r *http.Request) bool {
	l.mu.Lock()
	kind, tell := l.r.IntN(6), l.r.Float64() < l.odds
	where, other := l.r.Float64(), ""
	if strings.Contains(r.URL.Path, "/manifests/") {
		l.seen = append(l.seen, r.URL.Path)
		other = l.seen[l.r.IntN(len(l.seen))]
	}
	l.mu.Unlock()
	if !tell || r.URL.Path == "/v2/" {
		return false
	}
	if kind == 5 && other != "" { // another entry
		r.URL.Path = other
		return false
	}
	answer := httptest.NewRecorder()
	l.host.inner.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	at := int(where * float64(len(body)))
	switch {
	case kind == 0:
		w.WriteHeader(http.StatusInternalServerError)
		return true
	case kind == 1:
		w.WriteHeader(http.StatusNotFound)
		return true
	case kind == 2 && len(body) > 0: // cut off, and the length says the rest
		body = body[:at]
	case kind == 3: // an empty answer
		body = nil
	case len(body) > 0:
		body[at] ^= 1 << (at % 8)
	}
	for k, v := range answer.Header() {
		if k != "Content-Length" || kind == 2 {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body) // the other side may have gone
	return true
}

// TestTinyTravelDown: a registry that is not there costs a warning.
func TestTinyTravelDown(t *testing.T) {
	t.Parallel()
	host := newLiar(t)
	repo := host.repo()
	host.Close()
	w := newTiny(t, nil).with(epoch)
	r := w.build("web", "tar", "--cache-from="+repo, "--cache-to="+repo)
	r.wantHooks(t, tinySteps, allHooks...)
	if n := strings.Count(r.stderr, "warning: "); n != 2 {
		t.Errorf("%d warnings, want one of pulling and one of pushing: %v", n, r)
	}
	for name, args := range map[string][]string{
		"no registry is named": {"--cache-to=cache"},
		"lower-case":           {"--cache-from=host.example/Team"},
		"no PEM file":          {"--cache-to=host.example/team", "--cache-sign-key=/etc/passwd"},
		"without --cache-from": {"--cache-verify-key=/etc/passwd"},
	} {
		w.fails(2, w.create("x", "tar", args...), name)
	}
}

// TestTinyTravelSigned: with keys as openssl makes them; the path of the private
// one is in no log.
func TestTinyTravelSigned(t *testing.T) {
	t.Parallel()
	host := newLiar(t)
	w := newTiny(t, nil).with(epoch)
	private, public := filepath.Join(w.dir, "key.pem"), filepath.Join(w.dir, "key.pub")
	foreign(t, w.dir, "openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
	foreign(t, w.dir, "openssl", "pkey", "-in", private, "-pubout", "-out", public)
	from, verify := "--cache-from="+host.repo(), "--cache-verify-key="+public
	w.build("web", "tar", "--cache-to="+host.repo())
	r := w.otherStore("second").build("two", "tar", from, verify)
	r.wantHooks(t, tinySteps, allHooks...)
	if !strings.Contains(r.stderr, "it is not signed") {
		t.Error(r)
	}
	w.otherStore("third").build("three", "tar", "--cache-to="+host.repo(), "--cache-sign-key="+private)
	w.otherStore("fourth").build("four", "tar", from, verify).wantHooks(t, 0)
	for _, name := range []string{"two.tar", "three.tar", "four.tar"} {
		sameBits(t, w.path("web.tar"), w.path(name))
	}
}

// TestTinyTravelCommands: lithify cache on a repository and on the store.
func TestTinyTravelCommands(t *testing.T) {
	t.Parallel()
	host := newLiar(t)
	w := newTiny(t, nil).with(epoch)
	w.build("web", "tar", "--cache-to="+host.repo())
	says := func(code int, words string, args ...string) {
		t.Helper()
		r := w.runCommand(w.command("lithify", append([]string{"cache"}, args...)...))
		if r.code != code || !strings.Contains(r.stdout+r.stderr, words) {
			t.Errorf("cache %q: want exit code %d and %q: %v", args, code, words, r)
		}
	}
	says(0, "post-install", "ls", host.repo())
	says(0, "checked, all right", "verify")
	says(0, "checked, all right", "verify", host.repo())
	says(0, "0 steps removed", "prune", host.repo(), "--older-than", "1h")
	host.lies(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			rw.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}
		return false
	})
	says(1, "forbids deleting", "prune", host.repo(), "--all")
	host.lies(func(rw http.ResponseWriter, r *http.Request) bool {
		answer := httptest.NewRecorder()
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		host.inner.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		if len(body) < 100_000 {
			return false
		}
		body[len(body)/2] ^= 1
		_, _ = rw.Write(body)
		return true
	})
	says(1, "cannot be used", "verify", host.repo())
	host.lies(nil)
	says(0, " 0 left", "prune", host.repo(), "--all")
	says(0, "0 steps", "ls", host.repo())
	says(2, "no registry is named", "ls", "nowhere")
	// A file that was spoilt in the store.
	spoilt, err := filepath.Glob(filepath.Join(w.store, "overlay/*/diff/bin/busybox"))
	must(t, err)
	for _, path := range spoilt {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("spoilt"), 1000)
		must(t, err)
		must(t, f.Close())
	}
	says(1, "is not what it was", "verify")
}
