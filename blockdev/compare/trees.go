package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
)

func (in *input) tree() tree {
	if in.dir != "" {
		return dirTree{dir: in.dir}
	}
	return in.tar
}

// treesOf compares archives and folders.
func treesOf(ctx context.Context, a, b *input, r *Report, o Options) error {
	if a.tar != nil && b.tar != nil {
		ia, errA := containerOf(a.tar)
		ib, errB := containerOf(b.tar)
		if err := sideErrors(errA, errB); err != nil {
			return err
		}
		if ia != nil && ib != nil {
			return containers(ctx, a, b, ia, ib, r, o)
		}
	}
	s := r.section("files", o)
	if err := compareTrees(ctx, a.tree(), b.tree(), s, o, nil); err != nil {
		return err
	}
	if a.tar != nil && b.tar != nil && s.found() == 0 && !o.IgnoreTimes {
		memberOrder(s, a.tar, b.tar)
	}
	return nil
}

// memberOrder tells of archives with equal members in another order.
func memberOrder(s *Section, a, b *tarTree) {
	for i := range min(len(a.order), len(b.order)) {
		if a.order[i] != b.order[i] {
			s.change(fmt.Sprintf("member %d", i+1), "order", shown(a.order[i]), shown(b.order[i]))
			return
		}
	}
}

// container is what an archive of a container image says.
type container struct {
	config string
	layers []string
	tags   []string
}

// mostManifest is how long a manifest or configuration may be, in bytes.
const mostManifest = 16 << 20

// containerOf reads a docker archive's manifest, or an OCI layout's; nil when the
// archive is neither.
func containerOf(t *tarTree) (*container, error) {
	if t.members["/manifest.json"] != nil {
		var list []struct {
			Config           string
			RepoTags, Layers []string
		}
		if err := t.json("/manifest.json", &list); err != nil || len(list) != 1 {
			return nil, err
		}
		return &container{list[0].Config, list[0].Layers, list[0].RepoTags}, nil
	}
	if t.members["/index.json"] == nil || t.members["/oci-layout"] == nil {
		return nil, nil
	}
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	if err := t.json("/index.json", &index); err != nil || len(index.Manifests) != 1 {
		return nil, err
	}
	var m struct {
		Config descriptor
		Layers []descriptor
	}
	if err := t.json(blob(index.Manifests[0].Digest), &m); err != nil {
		return nil, err
	}
	c := &container{config: blob(m.Config.Digest)}
	for _, l := range m.Layers {
		c.layers = append(c.layers, blob(l.Digest))
	}
	return c, nil
}

func blob(digest string) string {
	for i := range digest {
		if digest[i] == ':' {
			return "/blobs/" + digest[:i] + "/" + digest[i+1:]
		}
	}
	return "/blobs/" + digest
}

func (t *tarTree) member(name string) (region, error) {
	n := t.members[path.Clean("/"+name)]
	for range 8 { // docker save links to layers that come twice
		if n == nil || n.kind != kindLink {
			break
		}
		n = t.members[path.Join(path.Dir(n.path), n.ref.(*tarRef).target)]
	}
	if n == nil || n.kind != kindFile {
		return region{}, fmt.Errorf("the archive has no file %q", name)
	}
	return n.ref.(*tarRef).content, nil
}

func (t *tarTree) json(name string, to any) error {
	r, err := t.member(name)
	if err != nil {
		return err
	}
	if r.size > mostManifest {
		return fmt.Errorf("%s has %d bytes; allowed: %d", name, r.size, mostManifest)
	}
	if err := json.NewDecoder(io.NewSectionReader(r, 0, r.size)).Decode(to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// containers compares images of containers: configuration, then layer by layer.
func containers(ctx context.Context, a, b *input, ia, ib *container, r *Report, o Options) error {
	s := r.section("image", o)
	s.change("", "names", fmt.Sprintf("%q", ia.tags), fmt.Sprintf("%q", ib.tags))
	s.change("", "layers", fmt.Sprint(len(ia.layers)), fmt.Sprint(len(ib.layers)))
	var ca, cb any
	if err := sideErrors(a.tar.json(ia.config, &ca), b.tar.json(ib.config, &cb)); err != nil {
		return err
	}
	compareJSON(s, "", ca, cb, o)
	for i := range min(len(ia.layers), len(ib.layers)) {
		name := fmt.Sprintf("layer %d of %d", i+1, len(ia.layers))
		if err := layer(ctx, a, b, ia.layers[i], ib.layers[i], r.section(name, o), o); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func layer(ctx context.Context, a, b *input, nameA, nameB string, s *Section, o Options) (err error) {
	ra, errA := a.tar.member(nameA)
	rb, errB := b.tar.member(nameB)
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	la, lb := &input{path: nameA, file: ra, content: ra}, &input{path: nameB, file: rb, content: rb}
	defer func() { err = errors.Join(err, la.close(), lb.close()) }()
	if err := sideErrors(la.unwrap(ctx, o), lb.unwrap(ctx, o)); err != nil {
		return err
	}
	if la.tar == nil || lb.tar == nil {
		return errors.New("it is no tar archive")
	}
	if err := compareTrees(ctx, la.tar, lb.tar, s, o, nil); err != nil {
		return err
	}
	if s.found() == 0 && !o.IgnoreTimes {
		memberOrder(s, la.tar, lb.tar)
	}
	return nil
}

// compareJSON tells of values that differ, by their way through the document.
func compareJSON(s *Section, where string, a, b any, o Options) {
	ma, okA := a.(map[string]any)
	mb, okB := b.(map[string]any)
	if okA && okB {
		var keys []string
		for k := range ma {
			keys = append(keys, k)
		}
		for k := range mb {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			if !(o.IgnoreTimes && k == "created") {
				compareJSON(s, where+"."+shown(k), ma[k], mb[k], o)
			}
		}
		return
	}
	la, okA := a.([]any)
	lb, okB := b.([]any)
	if okA && okB && len(la) == len(lb) {
		for i := range la {
			compareJSON(s, fmt.Sprintf("%s[%d]", where, i), la[i], lb[i], o)
		}
		return
	}
	ja, _ := json.Marshal(a) // it was JSON
	jb, _ := json.Marshal(b)
	s.change("configuration "+where, "value", string(ja), string(jb))
}
