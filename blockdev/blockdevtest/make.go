package blockdevtest

import (
	"context"

	"github.com/lithify/lithify/blockdev"
)

// Plan lays out a configuration ("": the default) for what is below tree; ids
// come from seed. It takes no test, so that a child process can call it.
func Plan(ctx context.Context, config, seed, tree string) (*blockdev.Graph, *blockdev.Plan, error) {
	g, err := identified(config, seed)
	if err != nil {
		return nil, nil, err
	}
	m, err := blockdev.Measure(ctx, tree, g.MountPoints())
	if err != nil {
		return nil, nil, err
	}
	p, err := g.Layout(m, blockdev.Request{})
	return g, p, err
}

// Make plans a configuration as Plan does, and has the disk made. The caller
// closes it.
func Make(ctx context.Context, b blockdev.Backend, config, seed string, t blockdev.Tree) (blockdev.Disk, error) {
	g, p, err := Plan(ctx, config, seed, t.Dir)
	if err != nil {
		return nil, err
	}
	return b.Create(ctx, g, p, t)
}

func identified(config, seed string) (*blockdev.Graph, error) {
	c := blockdev.Default()
	if config != "" {
		var err error
		if c, err = blockdev.Parse([]byte(config)); err != nil {
			return nil, err
		}
	}
	g, err := c.Graph(blockdev.Defaults{})
	if err != nil {
		return nil, err
	}
	g.Identify(seed)
	return g, nil
}
