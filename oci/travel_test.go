package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// traveller is a store with a cache and what it warned of.
type traveller struct {
	*Store
	*Cache
	mu       sync.Mutex
	warnings []string
}

func (v *traveller) said() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.warnings, "\n")
}

func repository(t testing.TB, h *host) *Repository {
	t.Helper()
	r, err := OpenRepository(h.target("team/cache"), "")
	must(t, err)
	return r
}

// travelling opens a fresh store with a cache in the registry, both ways.
func travelling(t testing.TB, h *host, change func(*CacheOptions)) *traveller {
	t.Helper()
	v := &traveller{Store: openStore(t, t.TempDir())}
	o := CacheOptions{From: []*Repository{repository(t, h)}, To: repository(t, h), Warn: func(text string) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.warnings = append(v.warnings, text)
	}}
	if change != nil {
		change(&o)
	}
	c, err := v.Store.NewCache(t.Context(), o)
	must(t, err)
	v.Cache = c
	t.Cleanup(func() { must(t, c.Close()) })
	return v
}

// rowKeys are the keys of a row of steps.
func rowKeys(n int) (keys []rootfs.Key) {
	for i := range n {
		keys = append(keys, key(fmt.Sprint("row", i)))
	}
	return keys
}

var rowParent = key("parent")

// row makes and seals the steps of a row, each of which does do in its tree, and
// offers every third and the last.
func (v *traveller) row(t testing.TB, n int, do func(i int, dir string)) (layers []rootfs.Layer) {
	t.Helper()
	at, parent := base(t, v.Store), rowParent
	for i, k := range rowKeys(n) {
		l, c := step(t, v.Store, at, fmt.Sprint("row", i), func(dir string) { do(i, dir) })
		must(t, c.Seal(t.Context(), l, rootfs.Record{Parent: parent, Phase: "install", Element: "test", Name: fmt.Sprint(i)}))
		must(t, c.Close())
		at, parent, layers = l, k, append(layers, l)
		if i%3 == 2 || i == n-1 {
			v.Offer(k)
		}
	}
	return layers
}

func random(seed uint64) func(int, string) {
	return func(i int, dir string) {
		c := &chaos{mathrand.New(mathrand.NewPCG(seed, uint64(i))), dir}
		for range 25 {
			c.step()
		}
		os.WriteFile(filepath.Join(dir, "always"), []byte{byte(i)}, 0o600)
	}
}

// fetched asks for the row and gives the tree of its last step.
func (v *traveller) fetched(t *testing.T, keys []rootfs.Key) map[string]string {
	t.Helper()
	got, err := v.Fetch(t.Context(), rowParent, keys)
	must(t, err)
	if !got {
		t.Fatalf("nothing was fetched: %s", v.said())
	}
	l, rec, err := v.Find(t.Context(), keys[len(keys)-1])
	must(t, err)
	if rec.Name != fmt.Sprint(len(keys)-1) || rec.Element != "test" || len(rec.Inputs) > 0 {
		t.Errorf("record %+v", rec)
	}
	return tree(t, v.Store, l)
}

// TestTravelEqualTrees carries random trees, and one with everything that a file
// can have, to another store, which carries what it adds on to a third.
func TestTravelEqualTrees(t *testing.T) {
	needRoot(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(3) {
		h := newHost(t)
		a := travelling(t, h, nil)
		made := a.row(t, 8, func(i int, dir string) {
			if i == 0 {
				odd(t)(dir)
				holes(t, filepath.Join(dir, "holes"))
				must(t, unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0))
			}
			random(seed+round)(i, dir)
		})
		r := a.Finish()
		if r.Pushed != 3 || a.said() != "" {
			t.Fatalf("%+v %s", r, a.said())
		}
		b := travelling(t, h, nil)
		keys := rowKeys(8)
		if d := diff(tree(t, a.Store, made[7]), b.fetched(t, keys)); len(d) > 0 {
			t.Fatalf("round %d: %s", round, strings.Join(d, "\n"))
		}
		for i, k := range keys { // the steps between come along where they were offered
			_, rec, err := b.Find(t.Context(), k)
			if want := i%3 == 2 || i == 7; want != (err == nil) {
				t.Errorf("step %d: %v", i, err)
			} else if want {
				if d := diff(tree(t, a.Store, made[i]), tree(t, b.Store, layer(rec.Layer))); len(d) > 0 {
					t.Errorf("step %d: %s", i, strings.Join(d, "\n"))
				}
			}
		}
	}
}

func holes(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 5<<20)
	must(t, errors.Join(err, f.Truncate(64<<20), f.Close()))
}

// TestTravelPullsOnlyWhatIsMissing counts blobs, and what is sent twice.
func TestTravelOnlyWhatIsMissing(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	a := travelling(t, h, nil)
	a.row(t, 6, func(i int, dir string) { writer(t, fmt.Sprint("f", i), strings.Repeat("x", 1000*i))(dir) })
	a.Finish()
	if begun, done := h.uploads(); begun != 4 || done != 4 { // two archives, two configurations
		t.Errorf("%d uploads begun, %d done, want 4", begun, done)
	}
	var gets []string
	var mu sync.Mutex
	h.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			gets = append(gets, r.URL.Path)
		}
		return false
	}
	b := travelling(t, h, nil)
	keys := rowKeys(6)
	b.fetched(t, keys[:3])
	if len(gets) != 2 {
		t.Errorf("the first half took %q, want a configuration and an archive", gets)
	}
	gets = nil
	got, err := b.Fetch(t.Context(), keys[2], keys[3:])
	must(t, err)
	if !got || len(gets) != 2 {
		t.Errorf("%t: the second half took %q, want a configuration and an archive", got, gets)
	}
	for _, k := range keys { // as a build that reused all does
		b.Offer(k)
	}
	b.Finish()
	if begun, _ := h.uploads(); begun != 0 || b.said() != "" {
		t.Errorf("%d uploads of what is there: %s", begun, b.said())
	}
	l, _, err := b.Find(t.Context(), keys[5])
	must(t, err)
	if got := readIn(t, b.Store, l, "f2"); len(got) != 2000 {
		t.Errorf("f2: %.20q", got)
	}
	must(t, b.Cache.Close())
	must(t, b.Store.Close())
	// A third store that has made the first half by itself, other than a did,
	// does not put a's second half on top of it.
	c := travelling(t, h, func(o *CacheOptions) { o.To = nil })
	c.row(t, 3, func(i int, dir string) { writer(t, fmt.Sprint("other", i), "x")(dir) })
	got, err = c.Fetch(t.Context(), keys[2], keys[3:])
	must(t, err)
	l, _, err = c.Find(t.Context(), keys[5])
	must(t, err)
	if names := tree(t, c.Store, l); !got || names["f0"] == "" || names["other0"] != "" {
		t.Errorf("a mixture: %v", names)
	}
}

// TestTravelDeep goes through folds on both sides.
func TestTravelDeep(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	a := travelling(t, h, nil)
	const deep = foldAt + 15
	made := a.row(t, deep, func(i int, dir string) {
		writer(t, fmt.Sprint("f", i), fmt.Sprint(i))(dir)
		os.Remove(filepath.Join(dir, fmt.Sprint("f", i-7)))
	})
	a.Finish()
	b := travelling(t, h, nil)
	if d := diff(tree(t, a.Store, made[deep-1]), b.fetched(t, rowKeys(deep))); len(d) > 0 || a.said()+b.said() != "" {
		t.Errorf("%s %s: %s", a.said(), b.said(), strings.Join(d, "\n"))
	}
}

func keyPair(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return pub, priv
}

// TestTravelSigned: unsigned entries, those signed by somebody else, and true
// ones under another key or with other layers are refused; the owner of the key
// replaces them.
func TestTravelSigned(t *testing.T) {
	needRoot(t)
	pub, priv := keyPair(t)
	_, foreign := keyPair(t)
	keys := rowKeys(1)
	write := func(text string) func(int, string) {
		return func(_ int, dir string) { writer(t, "f", text)(dir) }
	}
	for name, sign := range map[string]ed25519.PrivateKey{"not signed": nil, "not one of the key": foreign} {
		h := newHost(t)
		evil := travelling(t, h, func(o *CacheOptions) { o.Sign = sign })
		evil.row(t, 1, write("evil"))
		evil.Finish()
		v := travelling(t, h, func(o *CacheOptions) { o.Verify, o.Sign = pub, priv })
		got, err := v.Fetch(t.Context(), rowParent, keys)
		must(t, err)
		if got || !strings.Contains(v.said(), name) {
			t.Errorf("%s: taken %t: %s", name, got, v.said())
		}
		v.row(t, 1, write("good"))
		if r := v.Finish(); r.Pushed != 1 {
			t.Errorf("the entry was not replaced: %s", v.said())
		}
		second := travelling(t, h, func(o *CacheOptions) { o.Verify = pub })
		second.fetched(t, keys)
		l, _, err := second.Find(t.Context(), keys[0])
		must(t, err)
		if got := readIn(t, second.Store, l, "f"); got != "good" {
			t.Errorf("the tree holds %q", got)
		}
		rebind(t, h, keys[0], second)
	}
}

// rebind takes a signed entry and gives its key foreign layers, and its bytes to
// a foreign key, as somebody without the key can.
func rebind(t *testing.T, h *host, k rootfs.Key, v *traveller) {
	t.Helper()
	repo := repository(t, h)
	e, err := repo.entry(t.Context(), k)
	must(t, err)
	other := key("other")
	must(t, repo.pusher.Put(t.Context(), repo.tag(other), rawManifestOf(t, e.manifest)))
	stranger := travelling(t, newHost(t), nil)
	stranger.row(t, 1, func(_ int, dir string) { writer(t, "f", "stranger")(dir) })
	if got, err := v.Fetch(t.Context(), rowParent, []rootfs.Key{other}); got || err != nil {
		t.Errorf("an entry was taken for another step: %v", err)
	}
	forged := travelling(t, h, nil)
	forged.broken[k] = true // so that it is replaced
	forged.row(t, 1, func(_ int, dir string) { writer(t, "f", "forged")(dir) })
	forged.Finish()
	f, err := repo.entry(t.Context(), k)
	must(t, err)
	f.manifest.Annotations[annotationSignature] = e.manifest.Annotations[annotationSignature]
	must(t, repo.pusher.Put(t.Context(), repo.tag(k), rawManifestOf(t, f.manifest)))
	last := travelling(t, h, func(o *CacheOptions) { o.Verify = v.Cache.o.Verify })
	if got, err := last.Fetch(t.Context(), rowParent, []rootfs.Key{k}); got || err != nil || !strings.Contains(last.said(), "not one of the key") {
		t.Errorf("a forged entry: taken %t, %v: %s", got, err, last.said())
	}
}

func rawManifestOf(t testing.TB, m entryManifest) rawManifest {
	t.Helper()
	data, err := json.Marshal(m)
	must(t, err)
	return data
}

// TestUnpackStaysInside gives archives that reach out of their folder, or hold
// what a tree cannot.
func TestUnpackStaysInside(t *testing.T) {
	needRoot(t)
	dir, file := func(n string) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: n} }, func(n string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: n} }
	link := func(kind byte, n, to string) *tar.Header { return &tar.Header{Typeflag: kind, Name: n, Linkname: to} }
	pax := func(h *tar.Header, k, v string) *tar.Header {
		h.PAXRecords = map[string]string{k: v}
		return h
	}
	for name, entries := range map[string][]*tar.Header{
		"no plain relative name": {dir("./"), file("../out")},
		"plain relative":         {dir("./"), file("/out")},
		"no plain":               {dir("./"), dir("a/"), file("a/../../out")},
		"before the folder":      {dir("./"), link(tar.TypeSymlink, "a", "/"), file("a/out")},
		"lies in":                {dir("./"), file("a"), file("a/b")},
		"twice":                  {dir("./"), link(tar.TypeSymlink, "a", "/etc/passwd"), file("a")},
		"no file that it holds":  {dir("./"), link(tar.TypeLink, "a", "/etc/passwd")},
		"links \"b\"":            {dir("./"), dir("a/"), link(tar.TypeLink, "b", "a")},
		"overlay's own":          {dir("./"), pax(dir("a/"), "SCHILY.xattr.trusted.overlay.redirect", "/etc")},
		"overlay's":              {dir("./"), pax(file("a"), "SCHILY.xattr.user.overlay.metacopy", "")},
		"holes":                  {dir("./"), pax(file("a"), paxData, "10 -4+2")},
		"its holes":              {dir("./"), pax(file("a"), paxData, "10 0+9223372036854775807")},
		"no root folder":         {},
		"before":                 {file("a")},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			h.Format = tar.FormatPAX
			must(t, w.WriteHeader(h))
		}
		must(t, w.Close())
		parent := t.TempDir()
		root := filepath.Join(parent, "root")
		must(t, os.Mkdir(root, 0o755))
		err := unpack(context.Background(), root, &b)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if names, _ := os.ReadDir(parent); len(names) != 1 {
			t.Errorf("%s: something was written outside", name)
		}
	}
}
