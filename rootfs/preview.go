package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lithify/lithify/elements"
)

// What a build would do with a step.
const (
	WouldReuse = "reuse"  // its layer is there
	WouldRun   = "run"    // it, and so all that follow, would be made
	AlwaysRuns = "always" // a foreign hook on the build host: what follows depends on what it leaves
	OnTheDisk  = "disk"   // it works on the disk, each time one is made
)

// PreviewStep is one step of a build that has not begun.
type PreviewStep struct {
	Phase, Element, Name string
	Would                string
	Kept                 Record // of its layer, where there is one; else zero
	// Why says, for the first step that is not reused, what differs from the step
	// of that name which was made most recently; empty when there is none.
	Why []Change
	// NewBase tells that such a step was made on another tree: not its own inputs
	// changed but the architecture, SOURCE_DATE_EPOCH or what the archive has.
	NewBase bool
}

// Change is an input of a step that is not what it was. Old and New are digests,
// "" where there is none.
type Change struct{ Input, Old, New string }

// Preview lists the steps of a build and what would become of each, without
// running a hook. kept are the records of the store. A step that always runs is
// taken to leave what it left last time. Options.Preview must be set.
func (b *Builder) Preview(ctx context.Context, kept []Record) ([]PreviewStep, error) {
	p := previewer{kept: kept}
	err := p.groups(ctx, b, groups)
	return p.steps, err
}

// groups goes through the build's groups of phases, after those of its base.
func (p *previewer) groups(ctx context.Context, b *Builder, groups [][]elements.Phase) error {
	if b.o.Base != nil {
		if err := p.groups(ctx, b.o.Base, installing); err != nil {
			return err
		}
	}
	p.Builder, p.key = b, b.first(p.key)
	for _, group := range groups {
		steps, err := b.plan(group)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if err := p.step(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

type previewer struct {
	*Builder
	kept   []Record
	key    Key
	steps  []PreviewStep
	broken bool // a step before would run
	disk   bool
}

func (p *previewer) step(ctx context.Context, s step) error {
	out := PreviewStep{Phase: string(s.phase), Element: s.element, Name: s.name, Would: WouldReuse}
	p.disk = p.disk || s.onDisk
	parent := p.key
	p.key = s.in.key(parent)
	switch {
	case p.disk:
		out.Would = OnTheDisk
	case s.byContent:
		out.Would = AlwaysRuns
		if old, ok := p.newest(s, parent); ok {
			p.key, out.Kept = old.Key, old
		}
	case p.broken:
		out.Would = WouldRun
	default:
		_, rec, err := p.o.Store.Find(ctx, p.key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("looking for the layer of step %q: %w", s.name, err)
		}
		if out.Kept = rec; err != nil || p.o.Fresh {
			out.Would, p.broken = WouldRun, true
			p.explain(&out, s, parent)
		}
	}
	p.steps = append(p.steps, out)
	return nil
}

// explain finds what differs from the step of that name which was made last, on
// the same tree if there is one.
func (p *previewer) explain(out *PreviewStep, s step, parent Key) {
	old, ok := p.newest(s, parent)
	if !ok {
		old, ok = p.newest(s, "")
		out.NewBase = ok
	}
	if !ok {
		return
	}
	names := sortedKeys(s.in)
	for _, name := range sortedKeys(old.Inputs) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if old.Inputs[name] != s.in[name] {
			out.Why = append(out.Why, Change{name, old.Inputs[name], s.in[name]})
		}
	}
}

// newest is the record of a step of that name which was made last; with a parent,
// on that parent.
func (p *previewer) newest(s step, parent Key) (best Record, found bool) {
	for _, r := range p.kept {
		if r.Phase == string(s.phase) && r.Element == s.element && r.Name == s.name &&
			(parent == "" || r.Parent == parent) && (!found || r.Made.After(best.Made)) {
			best, found = r, true
		}
	}
	return best, found
}

// lastAnswer is what a cache-key.d hook answered last; without one, nothing that
// any build has had.
func lastAnswer(answers, name string) []byte {
	answer, err := os.ReadFile(filepath.Join(answers, name))
	if err != nil {
		return []byte("never asked")
	}
	return answer
}
