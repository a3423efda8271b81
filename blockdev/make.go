package blockdev

import (
	"context"
	"errors"
)

// Make makes the disks of a graph whose ids are given (Identify) and fills them
// from the tree: it makes the mount points that the tree lacks, measures, lays out
// and has the back end create the disks. A size that nobody gave and that proves
// too small grows once, by half. The Disk is the caller's to Commit, which keeps
// its images, or to Close, which deletes them.
func (g *Graph) Make(ctx context.Context, b Backend, t Tree, r Request) (Disk, *Plan, error) {
	if err := MakeMountPoints(t.Dir, g.MountPoints()); err != nil {
		return nil, nil, err
	}
	content, err := Measure(ctx, t.Dir, g.MountPoints())
	if err != nil {
		return nil, nil, err
	}
	for {
		p, err := g.Layout(content, r)
		if err != nil {
			return nil, nil, err
		}
		d, err := b.Create(ctx, g, p, t)
		if full := (*NoSpaceError)(nil); errors.As(err, &full) && !full.Explicit && !r.Grow {
			r.Grow = true
			continue
		}
		return d, p, err
	}
}
